"""Tests of what only benchmarks use: `make test-bench`."""
