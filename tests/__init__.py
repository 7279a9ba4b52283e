"""Tests. A package, because an installed dependency ships a top-level `tests` of its own."""
