"""The suites: what is timed, each case alone in a process.

A case is a function without arguments that makes everything ready and returns a `Work`; the
first case of a suite is what the others are compared with. A peer is run for real, or reported
as missing.
"""

import dataclasses
import importlib
import operator
from collections.abc import Callable

from mkd_tf.checks import check_one_of


@dataclasses.dataclass(frozen=True)
class Work:
    """What is timed.

    Attributes:
      call: does it once.
      units: how many of `unit` a call does; times are of one.
      unit: as `step` or `image`.
      calls: how many calls are enough, at most; 0 for as many as `--runs` says.
    """

    call: Callable[[], object]
    unit: str
    units: int = 1
    calls: int = 0


STUDENT, TEACHER, GUIDE = "student alone", "teacher's forward pass", "guide's forward pass"
MKD, LATE_MKD = "mkd", "mkd in the last 40 % of a run"
PEER = "keras.distillation, one tap and one logits loss"
TORCH = "the default step in PyTorch"
SUITES: dict[str, dict[str, str]] = {
    "step": {
        STUDENT: "steps:SMALL.student_alone",
        TEACHER: "steps:SMALL.teacher_forward",
        GUIDE: "steps:SMALL.guide_forward",
        "default": "steps:SMALL.default",
        MKD: "steps:SMALL.mkd",
        LATE_MKD: "steps:SMALL.late_mkd",
        PEER: "steps:keras_distillation",
        TORCH: "torch_steps:default",
    },
    "step_large": {
        STUDENT: "steps:LARGE.student_alone",
        TEACHER: "steps:LARGE.teacher_forward",
        "default": "steps:LARGE.default",
        MKD: "steps:LARGE.mkd",
        LATE_MKD: "steps:LARGE.late_mkd",
    },
    "cache": {
        STUDENT: "steps:SMALL.student_alone",
        "default, from the cache": "steps:SMALL.kept_default",
        "mkd, from the cache": "steps:SMALL.kept_mkd",
        "mkd in the last 40 %, from the cache": "steps:SMALL.kept_late_mkd",
        "default": "steps:SMALL.default",
        PEER: "steps:keras_distillation",
        TORCH: "torch_steps:default",
    },
    "input": {
        "student alone, which consumes them": "steps:SMALL.student_images",
        "batches of training": "inputs:batches",
        "assignment of targets": "inputs:assignment",
    },
    "eval": {
        "student's forward pass": "evaluations:student_forward",
        "post-processing": "evaluations:postprocessing",
        "COCO evaluation": "evaluations:coco",
        "pycocotools": "evaluations:pycocotools",
    },
}
"""The cases of every suite, by what they are called in its table: module and function in this room."""
FLOORS = {
    "default": (STUDENT, TEACHER),
    MKD: (STUDENT, TEACHER, GUIDE),
    LATE_MKD: (STUDENT, TEACHER, GUIDE),
    PEER: (STUDENT, TEACHER),
    TORCH: (STUDENT, TEACHER),
}
"""What a step cannot do without: cases whose sum it is compared with, as far as its suite has them."""


def prepared(suite: str, case: str) -> Work:
    """Makes a case ready.

    Raises:
      MkdError: if there is no such suite or case.
      ImportError: naming the peer that is not installed.
    """
    check_one_of("suite", suite, tuple(SUITES))
    check_one_of("case", case, tuple(SUITES[suite]))
    module, function = SUITES[suite][case].split(":")
    return operator.attrgetter(function)(importlib.import_module(f"mkd_tf.benchmarks.{module}"))()
