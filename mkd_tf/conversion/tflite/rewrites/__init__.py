"""Corrections of integer files after their conversion."""
