"""Conversion: detectors become files for phones and boards.

A format is one class (`base.Format`) and one line of `FORMATS`. What a class imports at
the top of its file is light; converters and interpreters are imported when they run.
"""

from typing import TYPE_CHECKING, Any

from mkd_tf.conversion.base import Format
from mkd_tf.conversion.micro.format import Micro
from mkd_tf.conversion.onnx.format import Onnx
from mkd_tf.conversion.tflite.format import TFLite
from mkd_tf.registry import Table

if TYPE_CHECKING:
    from mkd_tf.conversion.tflite.convert import to_tflite

__all__ = ["FORMATS", "Format", "format_endings", "to_tflite"]

FORMATS: Table[Format] = Table("format", {"tflite": TFLite, "onnx": Onnx, "micro": Micro})


def format_endings() -> dict[str, type[Format]]:
    """Returns the formats by what the names of their files end in, as in `.tflite`."""
    kinds: list[Any] = list(FORMATS.entries.values())
    return {kind.ending: kind for kind in kinds}


def __getattr__(name: str) -> Any:
    """Imports `to_tflite`, and TensorFlow with it, when it is first used (PEP 562)."""
    if name == "to_tflite":
        from mkd_tf.conversion.tflite.convert import to_tflite

        return to_tflite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
