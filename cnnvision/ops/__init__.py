"""Pure functions with fixed shapes, one image at a time unless said otherwise; they import nothing of ours but types."""
