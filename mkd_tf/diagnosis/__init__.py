"""Diagnosis: the error that int8 makes in every layer, and files with some layers in more bits."""
