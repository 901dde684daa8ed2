"""An audit: a table of any kind in, its most suspicious labels out, on one machine."""
