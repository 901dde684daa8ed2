"""Drivers of Ray jobs: read settings, make the calls, write the report, exit 1 on failure."""
