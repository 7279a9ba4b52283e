"""Deployment: one export run converts, runs, measures, judges and records."""
