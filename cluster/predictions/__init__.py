"""Predictions that others made of the rows: read from tables, matched by id, pooled with ours."""
