"""Benchmarks of the method itself: what a step, an image of the input and an evaluation cost."""
