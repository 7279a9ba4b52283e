"""Evaluation: running a model over images, measuring it, drawing what it found."""
