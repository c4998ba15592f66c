"""Corridors: open doors, call rooms, save."""
