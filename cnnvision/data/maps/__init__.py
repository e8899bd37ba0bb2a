"""Maps of class ids: what the values in a file mean."""
