"""Where: zones, lattice, areas, seasons, distances on the ellipsoid. Pure nouns."""
