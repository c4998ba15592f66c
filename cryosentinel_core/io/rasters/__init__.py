"""Rasters: archive scenes in, cloud-optimised GeoTIFFs out."""
