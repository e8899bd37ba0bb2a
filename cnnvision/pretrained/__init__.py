"""Weights from elsewhere: read without executing anything, mapped to our parameters, and back."""
