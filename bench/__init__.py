"""Benchmarks: each runs both sides in one process tree, taking turns, and prints their ratio."""
