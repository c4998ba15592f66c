"""STAC catalogues: search, items of a year, read tokens."""
