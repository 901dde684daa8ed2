"""A user's table as checked rows: reading, statistics, folds, near-duplicates."""
