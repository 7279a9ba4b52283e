"""Builders of the table TEACHERS, and the teacher that a text of one spec or several names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mkd_tf.conversion.onnx.runner import SCHEMA_KEY
from mkd_tf.conversion.tflite.runner import DETECTION, RAW
from mkd_tf.registry import Table, parse_specs
from mkd_tf.teachers.base import OutputsTeacher
from mkd_tf.teachers.combined import Combined, Viewed
from mkd_tf.teachers.contract import changed
from mkd_tf.teachers.detections import FileDetections
from mkd_tf.teachers.fingerprints import fingerprint
from mkd_tf.teachers.network import Network
from mkd_tf.teachers.own import own_teacher, saved_model_facts
from mkd_tf.teachers.presets import preset
from mkd_tf.teachers.session import Session, described

# With two threads TFLite_Detection_PostProcess of LiteRT 2.3 loses the third class of three:
# it gives each thread classes // threads of them and leaves out the rest.
TFLITE_THREADS = 1
ALL_CORES = 0


def _seen(teacher: OutputsTeacher, views: str) -> OutputsTeacher:
    return teacher if views in ("", "none") else Viewed(teacher, views)


def _network(
    kind: str,
    path: str,
    open_session: Callable[[str, int], Session],
    outputs: str,
    classes: Any,
    settings: Mapping[str, Any],
) -> OutputsTeacher:
    where = f"teacher {kind}({path})"
    session = open_session(path, TFLITE_THREADS if kind == "tflite" else ALL_CORES)
    contract = preset(where, outputs, kind, described(session.outputs), settings)
    contract = changed(contract, where, settings)
    paths: list[str | Path] = [path, *Path(path).parent.glob(f"{Path(path).name}.data*")]
    key = fingerprint(paths, kind, contract, classes)
    return Network(where, Path(path).stem, session, contract, classes, key)


def onnx(
    path: str, outputs: str = "", classes: Any = "", views: str = "", fit: str = "", **settings: Any
) -> OutputsTeacher:
    """A network in an ONNX file, run by onnxruntime.

    Args:
      path: the file.
      outputs: a preset, see `presets`; empty for a file of mkd_tf, or where `settings` say it all.
      classes: see `class_names.given_names`; empty for those in the file.
      views: `flip` or `half_turn` for a second view of each image.
      fit: of a file of mkd_tf, where it does not say it.
      **settings: fields of `contract.Contract`.
    """
    from mkd_tf.teachers.onnx_session import OnnxSession

    path = str(Path(path).expanduser())
    if not outputs and not settings and SCHEMA_KEY in OnnxSession(path, ALL_CORES).metadata:
        return _seen(own_teacher(path, fit, fingerprint([path], "own", fit)), views)
    return _seen(_network("onnx", path, OnnxSession, outputs, classes, settings), views)


def tflite(
    path: str, outputs: str = "", classes: Any = "", views: str = "", fit: str = "", **settings: Any
) -> OutputsTeacher:
    """A network in a TFLite file, run by LiteRT; arguments as of `onnx`."""
    from mkd_tf.teachers.tflite_session import TFLiteSession

    path = str(Path(path).expanduser())
    if not outputs and not settings:
        session = TFLiteSession(path, TFLITE_THREADS)
        if tuple(sorted(session.outputs)) in (DETECTION, RAW) and session.names:
            return _seen(own_teacher(path, fit, fingerprint([path], "own", fit)), views)
    return _seen(_network("tflite", path, TFLiteSession, outputs, classes, settings), views)


def saved_model(
    path: str, outputs: str = "", classes: Any = "", views: str = "", **settings: Any
) -> OutputsTeacher:
    """A network in the folder of a SavedModel; arguments as of `onnx`."""
    from mkd_tf.teachers.saved_model_session import SavedModelSession

    path = str(Path(path).expanduser())
    facts = None if outputs or settings else saved_model_facts(path)
    if facts is not None:
        contract, names = facts
        session = SavedModelSession(path, ALL_CORES)
        where, key = f"teacher saved_model({path})", fingerprint([path], "own")
        return _seen(Network(where, Path(path).name, session, contract, names, key), views)
    return _seen(_network("saved_model", path, SavedModelSession, outputs, classes, settings), views)


def keras(path: str, views: str = "", fit: str = "") -> OutputsTeacher:
    """A `.keras` file of mkd_tf that only answers: no features and no dense predictions of it are used."""
    path = str(Path(path).expanduser())
    return _seen(own_teacher(path, fit, fingerprint([path], "own", fit)), views)


TEACHERS: Table[OutputsTeacher] = Table(
    "teacher",
    {
        "detections": FileDetections,
        "onnx": onnx,
        "tflite": tflite,
        "saved_model": saved_model,
        "keras": keras,
    },
)


def build_teacher(specs: str, views: str = "none") -> OutputsTeacher:
    """Returns the teacher that specs name, separated by commas; several are combined.

    Args:
      specs: calls of the table TEACHERS.
      views: `none`; `flip` or `half_turn` for a second view of each image, of all teachers.

    Raises:
      MkdError: if one cannot be read or is not as it says.
    """
    made = [TEACHERS.build(spec) for spec in parse_specs(specs, "teacher")]
    teacher = made[0] if len(made) == 1 else Combined(made)
    return _seen(teacher, views)
