"""Ablations: a grid of arms, seeds, data sets and networks, run in resumable cells and compared in pairs."""
