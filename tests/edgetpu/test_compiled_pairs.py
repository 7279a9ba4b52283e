"""The static check against what the compiler did with 21 public models: verdicts and operators."""

import functools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mkd_tf.edgetpu import placement
from mkd_tf.edgetpu.operators import Graph, Tensor
from mkd_tf.edgetpu.placement import ACCEPTED, CPU, EDGE_TPU, PARTLY, check, place
from tests.edgetpu.edgetpu_models import graph, operator, tensor

_FILE = Path(__file__).with_name("compiled_pairs.json")
_BYTES = {"UINT8": 1, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FLOAT32": 4}


@functools.cache
def _facts() -> dict[str, Any]:
    return json.loads(_FILE.read_text())


def _values(name: str, position: int, text: str, first: str, output: str) -> np.ndarray | None:
    """Returns the constants that a rule reads; the facts have no values, but these follow from the shapes."""
    if name == "PAD":
        before, after = (np.array(_shape(t)) for t in (first, output))
        return np.stack([np.zeros_like(before), after - before], -1).astype("int32")
    if name == "SPLIT" and position == 0:
        return np.array([3], "int32")
    return np.zeros(1, "int32") if text.startswith("INT32[]") else None


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(d) for d in re.search(r"\[(.*)\]", text)[1].split(",") if d)


class _Wiring:
    """Gives each computed input the newest tensor of its type and shape; the facts have no names."""

    def __init__(self) -> None:
        self.count = 0
        self.made: dict[str, list[Tensor]] = {}
        self.unread: set[int] = set()

    def new(self, text: str, **changes: Any) -> Tensor:
        self.count += 1
        return tensor(self.count, _shape(text), text.split("[")[0], **changes)

    def output(self, text: str) -> Tensor:
        made = self.new(text)
        self.made.setdefault(text, []).append(made)
        self.unread.add(made.index)
        return made

    def inputs(self, name: str, texts: list[str], output: str) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for position, text in enumerate(texts):
            if text == "-":
                found.append(None)
            elif text.endswith("="):
                size = _BYTES[text.split("[")[0]] * math.prod(_shape(text))
                value = _values(name, position, text, texts[0], output)
                found.append(self.new(text, value=value, size=max(size, 1)))
            else:
                newest = [t for t in reversed(self.made.get(text, [])) if t not in found]
                chosen = next((t for t in newest if t.index in self.unread), newest[0] if newest else None)
                found.append(chosen or self.new(text))
        self.unread -= {t.index for t in found if t is not None}
        return found


def _graph(model: dict[str, Any]) -> Graph:
    wiring, made = _Wiring(), []
    for index, row in enumerate(model["operators"]):
        name, version, inputs, outputs, *options = _facts()["operators"][row]
        made.append(
            operator(
                name,
                wiring.inputs(name, inputs.split(), outputs.split()[0]),
                [wiring.output(text) for text in outputs.split()],
                version,
                index=index,
                custom=name == "PosenetDecoderOp",
                options=options[0] if options else {},
            )
        )
    return graph(*made)


@pytest.mark.parametrize("model", _facts()["models"], ids=lambda model: model["model"])
def test_the_check_agrees_with_the_compiler(monkeypatch, model):
    made = _graph(model)
    monkeypatch.setattr(placement, "read_graph", lambda content, where: made)
    report = check(b"")
    assert report.verdict == (PARTLY if model["left_on_cpu"] else ACCEPTED), report.problems
    left = [p.operator.name for p in place(made) if p.place == CPU]
    assert left == model["left_on_cpu"]


def test_the_facts_are_those_of_the_compiler():
    """21 pairs, of which 10 are mapped as a whole."""
    models = _facts()["models"]
    assert len(models) == 21
    assert sum(not m["left_on_cpu"] for m in models) == 10
    # TILE and one of two resizes of the same model were mapped.
    slim = next(m for m in models if "slim" in m["model"])
    places = [(p.operator.name, p.place) for p in place(_graph(slim)) if "RESIZE" in p.operator.name]
    assert places == [("RESIZE_BILINEAR", EDGE_TPU), ("RESIZE_BILINEAR", CPU)]
