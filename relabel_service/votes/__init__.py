"""From votes to decisions, and intervals around shares."""
