"""Reports of commands that compare: tables, costs, comparisons."""
