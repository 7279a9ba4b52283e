"""Checks whether a file runs on an Edge TPU: `python -m export.edgetpu --model=student_int8.tflite`."""

from mkd_tf.edgetpu_check import console

if __name__ == "__main__":
    console()
