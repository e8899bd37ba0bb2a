"""What compiled programs hold, read from their text: operations, and traffic between devices."""
