"""What commands that compare write: tables, costs, the ladders."""
