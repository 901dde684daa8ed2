"""Scores that benchmarks compare with; the product does not use them."""
