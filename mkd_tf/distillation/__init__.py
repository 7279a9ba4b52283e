"""Distillation: the distiller, its objective, and the balance of the terms."""
