"""Evaluation: running a model over pictures, measuring it, drawing what it found."""
