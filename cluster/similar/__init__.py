"""Rows that are similar to a few example errors."""
