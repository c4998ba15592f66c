"""The only rooms that touch network or disk."""
