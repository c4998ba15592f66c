"""Functions for notebooks: xarray and geopandas in and out. The package's front door opens on them, and nothing else uses them."""
