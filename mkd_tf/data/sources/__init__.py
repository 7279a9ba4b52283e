"""Sources: where images and labels come from."""
