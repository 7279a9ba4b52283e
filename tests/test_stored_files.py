"""A damaged file of every kind: an error that names it and says what to do, or what was in it, and no other.

`make fuzz` mutates each 10,000 times; a mutation is read in less than `SECONDS`, opens no other
file, and takes little memory.
"""

import contextlib
import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkd_tf.checks import MkdError
from mkd_tf.conversion.model_files import load_runner
from mkd_tf.evaluation.results import take_results
from mkd_tf.registry import parse_chains, parse_spec, parse_specs
from mkd_tf.strategies import STRATEGIES
from tests import faults, mutations
from tests.fuzzing import cases
from tests.stored import KINDS

SECONDS = 5.0  # of the processor: others may use it too
MEBIBYTES = 600
"""More than all readers take together: what no mutation may reach."""
_READY: dict[str, tuple[Path, bytes, Any]] = {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the path, the content and the meaning of a whole file of a kind, made once."""

    def ready(name):
        if name not in _READY:
            folder = tmp_path_factory.mktemp("stored")
            path = KINDS[name].write(folder)
            _READY[name] = path, path.read_bytes(), plain(KINDS[name].read(path))
        return _READY[name]

    return ready


def plain(value):
    """Returns what can be compared; of a network its weights."""
    if hasattr(value, "get_weights"):
        return value.get_weights()
    return vars(value) if dataclasses.is_dataclass(value) else value


def is_same(value, expected):
    try:
        np.testing.assert_equal(plain(value), expected)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_file_is_told(whole, name):
    path, content, _ = whole(name)
    path.write_bytes(b"")
    try:
        if not KINDS[name].told:
            assert not KINDS[name].read(path)
            return
        with pytest.raises(MkdError, match=KINDS[name].told) as error:
            KINDS[name].read(path)
        assert path.name in str(error.value) or path.parent.name in str(error.value)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", KINDS)
def test_flipped_bits_and_cuts_are_told_or_change_nothing(whole, name):
    path, content, meaning = whole(name)
    rng = np.random.default_rng(0)
    damaged = [content[: int(len(content) * part)] for part in (0.1, 0.5, 0.9)] + [content[:-1]]
    for place in rng.integers(0, 8 * len(content), 12).tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        damaged.append(bytes(changed))
    try:
        for case in damaged:
            path.write_bytes(case)
            try:
                found = KINDS[name].read(path)
            except MkdError as error:
                assert path.name in str(error) or path.parent.name in str(error)
            else:
                assert not KINDS[name].is_hashed or is_same(found, meaning)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.is_json])
def test_another_version_is_told(whole, name):
    path, content, _ = whole(name)
    path.write_text(json.dumps(json.loads(content) | {"schema": 99}))
    told = (
        "damaged backup"
        if KINDS[name].is_hashed
        else "schema 1, got 99. Use the version of mkd_tf that wrote"
    )
    try:
        with pytest.raises(MkdError, match=told):
            KINDS[name].read(path)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", KINDS)
def test_mutations(whole, name):
    path, content, meaning = whole(name)

    @given(seed=st.integers(0, 2**63))
    @cases(25)
    def search(seed):
        case = mutations.mutated(mutations.chance(seed), content)
        path.write_bytes(case)
        began = time.process_time()
        with faults.opened() as opened:
            try:
                found = KINDS[name].read(path)
            except MkdError:
                pass
            else:
                assert not KINDS[name].is_hashed or is_same(found, meaning)
        assert time.process_time() - began < SECONDS
        # A flagfile may name others.
        assert not [o for o in opened if not o.startswith(str(path.parents[-3])) and name != "a flagfile"]

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        search()
    finally:
        path.write_bytes(content)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES


TEXTS = (
    "soft_classes, soft_boxes(weight=2.0)",
    "hint(rise=0.2, fall=0.2, pairs={'C3': 'C4'})",
    "qat, prune(sparsity=0.5)+qat",
    "coco/2017(unlabelled=True)",
    "attention_map(taps=('C3', 'C4'), weight=-1e3)",
)


@given(seed=st.integers(0, 2**63))
@cases(60)
def test_specs_of_anything(seed):
    rng = mutations.chance(seed)
    text = mutations.mutated(rng, rng.choice(TEXTS).encode()).decode("utf-8", errors="replace")
    for parse in (parse_spec, parse_specs, parse_chains):
        began = time.process_time()
        try:
            found = parse(text)
        except MkdError:
            continue
        assert time.process_time() - began < SECONDS
        for spec in found if parse is parse_specs else []:
            with contextlib.suppress(MkdError):
                STRATEGIES.build(spec)


def test_an_exported_file_that_the_manifest_does_not_name_is_refused(tmp_path):
    manifest = KINDS["manifest.json"].write(tmp_path)
    (manifest.parent / "student_int8.tflite").write_bytes(b"TFL3")
    with pytest.raises(MkdError, match=r"student_int8.tflite: expected the file that manifest.json names"):
        load_runner(tmp_path / "student_int8.tflite")


def test_a_damaged_results_file_is_set_aside_by_a_run(tmp_path):
    path = KINDS["results.json"].write(tmp_path)
    assert take_results(path)[1] == ""
    path.write_bytes(b"{")
    found, told = take_results(path)
    assert found["roles"] == {} and "It is kept as results.json.damaged and begun again" in told
    assert (tmp_path / "results.json.damaged").read_bytes() == b"{" and not path.exists()
    assert take_results(path)[1] == ""
