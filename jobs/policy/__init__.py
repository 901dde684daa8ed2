"""Let a rule decide where people cannot: each is tried, chosen on dev, and written."""
