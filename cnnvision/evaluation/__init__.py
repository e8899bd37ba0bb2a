"""Metrics over a whole split, on the host, against the original ragged annotations."""
