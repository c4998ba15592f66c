"""What was seen: one late summer on the lattice."""
