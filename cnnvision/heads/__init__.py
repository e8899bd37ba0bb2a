"""Heads: a linen module each, with its targets, loss and decoding as plain functions in the same file."""
