"""ONNX: conversion, the metadata of the file, and running it."""

QUANTIZATIONS = ("float32", "int8")
POSTPROCESSES = ("decoded", "raw")
OPSETS = (13, 14, 15, 16, 17, 18)
OPSET = 17
