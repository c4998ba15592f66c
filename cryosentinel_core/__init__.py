"""Rooms of cryosentinel: pure arithmetic in the middle, network and disk at the edge."""

__version__ = "0.1.0"
