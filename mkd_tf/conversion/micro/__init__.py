"""Microcontrollers: a model as C++ source for TensorFlow Lite Micro, and its arena."""
