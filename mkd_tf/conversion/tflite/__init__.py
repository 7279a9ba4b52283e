"""TFLite: conversion, metadata, rewrites of integer files, and running them."""
