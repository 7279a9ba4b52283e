"""ONNX: conversion, what the file says of itself, and running it."""
