"""Builders of the table TEACHERS, and the teacher that a text of one spec or several names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.conversion.onnx.runner import SCHEMA_KEY
from mkd_tf.conversion.tflite.runner import DETECTION, RAW
from mkd_tf.registry import Table, parse_specs
from mkd_tf.teachers.base import OutputsTeacher
from mkd_tf.teachers.combined import Combined, Viewed
from mkd_tf.teachers.contract import changed
from mkd_tf.teachers.detections import FileDetections
from mkd_tf.teachers.fingerprints import fingerprint
from mkd_tf.teachers.network import Network
from mkd_tf.teachers.own import is_own_saved_model, own_teacher
from mkd_tf.teachers.presets import preset
from mkd_tf.teachers.session import Session, described

# TFLite_Detection_PostProcess of LiteRT 2.3 never finds one of the classes where their number
# is no multiple of the number of threads: of 5 the third on 2 threads, the fourth on 3.
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


def _own(path: str, classes: Any, views: str, fit: str) -> OutputsTeacher:
    """Returns the teacher in a file that mkd_tf wrote, which has its classes inside."""
    if classes:
        do = "Leave classes= out; rename classes with --class_map."
        fail(f"teacher {path}, classes", expected="nothing for a file of mkd_tf", got=repr(classes), do=do)
    return _seen(own_teacher(path, fit, fingerprint([path], "own", fit)), views)


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
        return _own(path, classes, views, fit)
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
            return _own(path, classes, views, fit)
    return _seen(_network("tflite", path, TFLiteSession, outputs, classes, settings), views)


def saved_model(
    path: str, outputs: str = "", classes: Any = "", views: str = "", **settings: Any
) -> OutputsTeacher:
    """A network in the folder of a SavedModel; arguments as of `onnx`."""
    from mkd_tf.teachers.saved_model_session import SavedModelSession

    path = str(Path(path).expanduser())
    if not outputs and not settings and is_own_saved_model(path):
        return _own(path, classes, views, "")
    return _seen(_network("saved_model", path, SavedModelSession, outputs, classes, settings), views)


def keras(path: str, views: str = "", fit: str = "") -> OutputsTeacher:
    """A `.keras` file of mkd_tf that only answers: no features and no dense predictions of it are used."""
    return _own(str(Path(path).expanduser()), "", views, fit)


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
