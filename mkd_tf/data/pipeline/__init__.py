"""Pipeline: from stored images to augmented training batches."""
