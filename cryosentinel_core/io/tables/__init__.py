"""Tables with outlines: areas, lakes, inventories, registries."""
