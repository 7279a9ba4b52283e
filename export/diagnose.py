"""Measures which layers int8 hurts: `python -m export.diagnose --workdir=runs/quickstart`."""

from mkd_tf.diagnose import console

if __name__ == "__main__":
    console()
