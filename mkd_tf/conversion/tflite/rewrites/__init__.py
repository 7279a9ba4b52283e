"""Rewrites: what the converter leaves undone in integer files."""
