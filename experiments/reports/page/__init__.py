"""A page that shows a run, a grid or a ladder: one HTML file that needs nothing else."""
