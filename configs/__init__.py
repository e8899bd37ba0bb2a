"""One file an experiment: get_config(variant), and sweep() where a comparison belongs to it."""
