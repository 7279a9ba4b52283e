"""What a data set holds, what looks wrong in it, and which of its labels trained networks doubt."""
