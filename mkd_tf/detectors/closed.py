"""What a `.keras` file may hold, looked at before Keras builds anything of it.

A file that this program wrote has the SHA-256 of its parts in the comment of its archive, so
that a hash and what it is of are one file, renamed as one. Of a file from elsewhere the
archive's own checksums are compared. Its layers are those of Keras that compute, and what is
registered in this process: none that opens a path or an address, none beyond the limits.
"""

import hashlib
import json
import math
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras

from mkd_tf.checks import MkdError, fail
from mkd_tf.file_limits import limits, too_large

LARGEST_SIZE, MOST_WEIGHTS = 2**16, 2**30
"""Of a layer: the largest number of channels or other sizes, and the most weights of its kernel."""

_MARK = "mkd_tf sha256 "
_CONFIG = "config.json"
_DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, KeyError, ValueError)
# Where Keras defines what computes and opens nothing. Of `preprocessing` what is named, and augmentation.
_MODULES = re.compile(
    r"keras\.src\.(layers\.(activations|attention|convolutional|merging|normalization|pooling"
    r"|regularization|reshaping|rnn|core\.(dense|einsum_dense|embedding|identity|input_layer|masking|wrapper))"
    r"|models\.(functional|sequential|model)|ops\.|initializers\.|regularizers\.|constraints\."
    r"|activations\.|dtype_policies\.)"
)
_PREPROCESSING = {"CenterCrop", "Normalization", "Rescaling", "Resizing"}
# Classes of keras-hub that read vocabularies and presets; its layers compute.
_HUB_READS = re.compile("Tokenizer|Preprocessor|Converter|Cache")
_PLACE = re.compile(r"://|^[/~]|\.\.")
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
# Sizes of a layer; batches and images have sizes too, which `limits` bounds.
_SIZES: tuple[str, ...] = (
    "filters",
    "units",
    "num_heads",
    "key_dim",
    "value_dim",
    "depth_multiplier",
    "kernel_size",
)
_SIZES += ("input_dim", "output_dim", "groups", "padding", "size", "pool_size", "target_shape", "height")
_SIZES += ("width", "batch_shape", "dilation_rate", "strides", "cropping", "n")


def sign(path: Path) -> None:
    """Writes the hash of a file's parts into it, and the file to the disk."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = (_MARK + _hash_of(archive)).encode()
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def check_file(path: str | Path) -> None:
    """Checks a `.keras` file without loading it; what is no archive passes, for Keras to refuse.

    Raises:
      MkdError: if it is damaged, differs from its hash, unpacks to more than `MOST_BYTES`, or
        has a layer that is not allowed or beyond the limits.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(path, archive)
            stored = archive.comment.decode("ascii", errors="replace")
            if stored.startswith(_MARK):  # Reading for the hash compares the checksums too.
                if stored != _MARK + _hash_of(archive):
                    raise ValueError("it differs from its hash")
            elif (broken := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {broken} is wrong")
            config = archive.read(_CONFIG) if _CONFIG in archive.namelist() else b"{}"
        described = json.loads(config)
    except MkdError:
        raise
    except (RecursionError, *_DAMAGE) as error:
        reason = str(error).strip("'\"")
        do = "Restore it from a copy, or train again."
        fail(f"model {path}", expected="the file as it was saved", got=f"a damaged one ({reason})", do=do)
    try:
        _check_objects(str(path), described)
    except RecursionError:
        fail(f"model {path}", expected="a network", got="thousands of nested layers", do="Do not load it.")


def _check_size(path: str | Path, archive: zipfile.ZipFile) -> None:
    size = sum(part.file_size for part in archive.infolist()) / 2**30
    if size > (most := limits().model_gib):
        too_large(f"model {path}", f"at most {most:g} GiB when unpacked", f"{size:.2g} GiB", "model_gib")
    layers = sum(part.file_size for part in archive.infolist() if part.filename == _CONFIG) / 2**20
    if layers > (most := limits().layers_mib):
        expected = f"at most {most:g} MiB that describe its layers"
        too_large(f"model {path}", expected, f"{layers:.2g} MiB", "layers_mib")


def _hash_of(archive: zipfile.ZipFile) -> str:
    digest = hashlib.sha256()
    for part in sorted(archive.infolist(), key=lambda p: p.filename):
        digest.update(f"{part.filename}\n{part.file_size}\n".encode())
        with archive.open(part) as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _check_objects(where: str, described: Any) -> None:
    """Checks every object of a description, and those within it."""
    objects = _objects(described)
    for found in objects:
        if not _is_allowed(found):
            got = f"{str(found['class_name'])[:60]!r} of {str(found.get('module'))[:60]}"
            do = "Register a layer of your own before loading; else do not load this file."
            fail(f"model {where}", expected="layers that compute and open nothing", got=got, do=do)
    layers = [
        (str(found["class_name"])[:60], found["config"])
        for found in objects
        if isinstance(found.get("config"), dict) and found["class_name"] not in _VALUES
    ]
    for name, inner in layers:
        for key in _SIZES:
            if _largest(inner.get(key)) > LARGEST_SIZE:
                _refuse(
                    where, f"sizes of at most {LARGEST_SIZE:,}", f"{key} {str(inner[key])[:40]} of {name}"
                )
    widest = max((_channels(inner) for _, inner in layers), default=1)
    for name, inner in layers:
        kernel = inner.get("kernel_size")
        area = math.prod(
            max(_largest(side), 1) for side in (kernel if isinstance(kernel, list) else [kernel])
        )
        if area * widest * _channels(inner) > MOST_WEIGHTS:
            got = f"{name} with up to {area * widest * _channels(inner):,}"
            _refuse(where, f"layers of at most {MOST_WEIGHTS:,} weights", got)


def _channels(inner: dict[str, Any]) -> int:
    return max(_largest(inner.get("filters")), _largest(inner.get("units")))


def _objects(value: Any) -> list[dict[str, Any]]:
    """Returns every serialised object within a description, the outer ones first."""
    if isinstance(value, list):
        return [found for part in value for found in _objects(part)] if _may_hold(value) else []
    if not isinstance(value, dict):
        return []
    own = [value] if "class_name" in value else []
    return own + [found for part in value.values() for found in _objects(part)]


def _may_hold(values: list[Any]) -> bool:
    # Boxes of anchors are lists of a hundred thousand numbers.
    return any(isinstance(value, (dict, list)) for value in values)


def _largest(value: Any) -> int:
    """Returns the largest whole number in a size, which may be a list of sizes; 0 without one."""
    if isinstance(value, list):
        return max((_largest(part) for part in value), default=0)
    return abs(int(value)) if isinstance(value, (int, float)) and abs(value) < float("inf") else 0


def _is_allowed(found: dict[str, Any]) -> bool:
    """Whether a serialised object is a value, an object registered in this process, or a layer of Keras."""
    name, registered = found["class_name"], found.get("registered_name")
    if not isinstance(name, str):
        return False
    if name in _VALUES:
        return True
    if name == "function":
        function = found.get("config")
        known = set(dir(keras.activations)) - {"deserialize", "get", "serialize"}
        return (isinstance(function, str) and function in known) or keras.saving.get_registered_object(
            str(function)
        ) is not None
    module = found.get("module")
    if str(module).startswith("keras_hub.") or str(registered).startswith("keras_hub>"):
        return _HUB_READS.search(name) is None and not _names_a_place(found.get("config"))
    if isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None:
        return True
    if not isinstance(module, str):
        return False
    found_class = _class_of_keras(module, name)
    if found_class is None:
        return False
    if ".preprocessing." in found_class.__module__:
        return name in _PREPROCESSING or name.startswith("Random")
    return _MODULES.match(found_class.__module__) is not None


def _class_of_keras(module: str, name: str) -> Any:
    """Returns the class that Keras would build, or None."""
    if module.startswith("keras.src."):
        # A class without a public name is named by where it is defined.
        return type(name, (), {"__module__": module})
    parts = module.split(".")
    if parts[0] != "keras":
        return None
    place: Any = keras
    for part in [*parts[1:], name]:
        place = getattr(place, part, None)
    return place if isinstance(place, type) else None


def _names_a_place(value: Any) -> bool:
    """Whether a text within a description is a path or an address."""
    if isinstance(value, dict):
        return any(_names_a_place(part) for part in value.values())
    if isinstance(value, list):
        return any(_names_a_place(part) for part in value)
    return isinstance(value, str) and _PLACE.search(value) is not None


def _refuse(where: str | Path, expected: str, got: str) -> None:
    fail(f"model {where}", expected=expected, got=got, do="Do not load this file.")
