"""A config, its data and its model, joined into a run; the folder of a run, opened again."""
