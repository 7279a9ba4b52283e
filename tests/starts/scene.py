"""What the tests of starts have in common: the form of the larger network."""

CLASSES = 3
LARGE = "tiny(widths=(8,16,24,32), pyramid=16)"
