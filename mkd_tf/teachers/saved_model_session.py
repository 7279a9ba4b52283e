"""Runs the signature `serving_default` of a SavedModel."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import MkdError, fail
from mkd_tf.teachers.session import Session, Tensor

SIGNATURE = "serving_default"


class SavedModelSession(Session):
    """A SavedModel; see `session.Session`."""

    kind = "saved_model"

    def __init__(self, path: str, threads: int):
        del threads  # TensorFlow has one pool for the whole process.
        import tensorflow as tf

        folder = Path(path).expanduser()
        where = f"model {folder}"
        if not (folder / "saved_model.pb").is_file():
            got = "no saved_model.pb in it" if folder.is_dir() else "no such folder"
            fail(where, expected="the folder of a SavedModel", got=got, do="Check the path.")
        try:
            # The signatures hold its variables weakly.
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:160]
            raise MkdError(f"{where}: not a readable SavedModel ({reason}). Export it again.") from None
        signatures = self._loaded.signatures
        if SIGNATURE not in signatures:
            got, do = ", ".join(signatures) or "none", "Export it with a signature of that name."
            fail(where, expected=f"the signature {SIGNATURE}", got=got, do=do)
        self._run = signatures[SIGNATURE]
        self._tensor = tf.constant
        _, specs = self._run.structured_input_signature
        self.inputs = {name: _described(spec) for name, spec in specs.items()}
        self.outputs = {name: _described(spec) for name, spec in self._run.structured_outputs.items()}
        self.names = _names(folder)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self._run(**{name: self._tensor(values) for name, values in feeds.items()})
        return {name: x.numpy() for name, x in found.items()}


def _described(spec: Any) -> Tensor:
    shape = tuple(spec.shape.as_list()) if spec.shape.rank is not None else (None, None, None, None)
    return Tensor(shape, np.dtype(spec.dtype.as_numpy_dtype))


def _names(folder: Path) -> Any:
    """Returns the classes that Ultralytics writes into `metadata.yaml`, None where there are none."""
    path = folder / "metadata.yaml"
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    if "names:" not in lines:
        return None
    names: dict[int, str] = {}
    for line in lines[lines.index("names:") + 1 :]:
        number, colon, name = line.strip().partition(":")
        if not line.startswith(" ") or not colon or not number.isdigit():
            break
        name = name.strip()
        names[int(number)] = str(json.loads(name)) if name.startswith('"') else name.strip("'")
    return names or None
