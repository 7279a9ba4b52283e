"""ONNX: conversion, the metadata of the file, and running it."""

QUANTIZATIONS = ("float32", "float16", "int8")
POSTPROCESSES = ("decoded", "raw", "nms")
OPSETS = (13, 14, 15, 16, 17, 18)
OPSET = 17
