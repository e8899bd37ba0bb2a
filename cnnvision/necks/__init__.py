"""Necks: between a backbone's features by stride and the heads."""
