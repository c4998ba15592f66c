"""Weights: downloaded, read as data, written, described."""
