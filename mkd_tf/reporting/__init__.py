"""The report of a work directory or an ablation: one HTML page that needs nothing beside it."""
