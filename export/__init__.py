"""Front doors of the exports, for `python -m export.<format>` from the checkout."""
