"""TFLite: conversion, metadata, rewrites of integer files, and running them."""

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "int16x8")
POSTPROCESSES = ("detection", "raw")
