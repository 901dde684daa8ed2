"""The `relabel` command."""
