"""Edge TPU: operator rules, the static check, and the log of `edgetpu_compiler`."""
