"""Suites of the benchmark: children in turns, their figures, and what is not installed."""

import dataclasses
import importlib
import json
import operator
import statistics

import pytest

from mkd_tf import schemas
from mkd_tf.benchmarks import running, steps
from mkd_tf.benchmarks.cases import SUITES, Work
from mkd_tf.checks import MkdError
from mkd_tf.schemas.deployment import SuiteFile


def of(times):
    """A child that takes these milliseconds of processor time in its rounds, by case; None: not installed."""
    left = {case: list(values or []) for case, values in times.items()}
    asked = []

    def time_case(suite, case, calls, threads):
        asked.append(case)
        if times[case] is None:
            return {"missing": "peer is not installed"}
        cpu = left[case].pop(0)
        return {"unit": "image", "wall_ms": 2 * cpu, "cpu_ms": cpu, "peak_mb": 100 * cpu}

    return time_case, asked


def test_cases_in_turns_against_the_first(tmp_path):
    times = dict(zip(SUITES["eval"], ([1.0, 2.0, 4.0], [3.0, 6.0, 9.0], [1.0, 1.0, 1.0], None), strict=True))
    time_case, asked = of(times)
    found = running.run_suite("eval", rounds=3, calls=7, threads=2, time_case=time_case)
    names = list(SUITES["eval"])
    # A peer that is not installed is asked for once.
    assert asked == names + names[:3] * 2
    second, missing = found["cases"][names[1]], found["cases"][names[3]]
    assert second["ratio"] == 3.0 == statistics.median(second["cpu_ms"]) / 2
    assert (missing["missing"], missing["cpu_ms"]) == ("peer is not installed", [])
    table = running.write(str(tmp_path / "eval.json"), found)
    assert schemas.read(tmp_path / "eval.json", SuiteFile)["cases"] == found["cases"]
    text = (tmp_path / "eval.md").read_text()
    assert table == str(tmp_path / "eval.md")
    assert f"| {names[1]} | 6 (3 to 9) | 12 (6 to 18) | image | 3.00 |  | 900 |" in text
    assert f"| {names[3]} | not measured: peer is not installed | | | | | |" in text


def test_steps_against_their_floor():
    cases = ("student alone", "teacher's forward pass", "guide's forward pass", "default", "mkd")
    times = dict.fromkeys(SUITES["step"], None) | dict(
        zip(cases, ([2.0], [4.0], [1.0], [9.0], [14.0]), strict=True)
    )
    found = running.run_suite("step", rounds=1, calls=1, threads=1, time_case=of(times)[0])
    rows = {line.split(" | ")[0][2:]: line.split(" | ") for line in running.markdown(found).splitlines()[6:]}
    # 9 / (2 + 4), and 14 / (2 + 4 + 1) with the guide; the parts themselves have none.
    assert (rows["default"][5], rows["mkd"][5], rows["student alone"][5]) == ("1.50", "2.00", "")


def test_a_suite_without_the_teachers_pass_has_no_floors():
    times = {case: [3.0] for case in SUITES["cache"]}
    text = running.markdown(running.run_suite("cache", rounds=1, calls=1, threads=1, time_case=of(times)[0]))
    assert [line.split(" | ")[5] for line in text.splitlines()[6:]] == [""] * len(times)


def test_a_kept_step_reads_what_its_sources_said(monkeypatch):
    """From the second step on neither teacher nor guide computes."""
    caches = []

    class Watched(steps.SourceCache):
        def __init__(self, *args):
            super().__init__(*args)
            caches.append(self)

    monkeypatch.setattr(steps, "SourceCache", Watched)
    pair = dataclasses.replace(steps.SMALL, side=64, batch=2)
    work = pair.kept_mkd()
    for _ in range(3):
        work.call()
    (cache,) = caches
    assert cache.computed >= 1
    read = cache.computed
    for _ in range(3):
        work.call()
    assert cache.computed == read


@pytest.mark.parametrize("suite", SUITES)
def test_every_case_is_a_function(suite):
    for place in SUITES[suite].values():
        module, function = place.split(":")
        assert callable(operator.attrgetter(function)(importlib.import_module(f"mkd_tf.benchmarks.{module}")))


def test_times_are_of_one_unit(monkeypatch):
    clock = {"wall": 0.0, "cpu": 0.0, "calls": 0}

    def call():
        clock["calls"] += 1
        clock["wall"], clock["cpu"] = clock["wall"] + 0.8, clock["cpu"] + 0.4

    monkeypatch.setattr(running, "prepared", lambda suite, case: Work(call, "image", units=4))
    monkeypatch.setattr(running.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(running.time, "process_time", lambda: clock["cpu"])
    found = json.loads(running.answer("eval", "x", 5).removeprefix(running.MARK))
    assert found.pop("peak_mb") > 0
    assert found == {"unit": "image", "wall_ms": pytest.approx(200), "cpu_ms": pytest.approx(100)}
    assert clock["calls"] == 5 + running.WARM_UP


def test_mistakes_are_told(monkeypatch):
    with pytest.raises(
        MkdError, match="suite: expected one of step, step_large, cache, input, eval, got 'all'"
    ):
        running.run_suite("all", rounds=1, calls=1, threads=1)
    monkeypatch.setattr(running.sys, "executable", "/bin/false")
    with pytest.raises(MkdError, match="case mkd: expected a timed call, got nothing printed"):
        running.child("step", "mkd", 1, 1)


def test_a_case_is_run_for_real():
    found = running.timed("eval", "post-processing", 2)
    assert found["unit"] == "image" and found["cpu_ms"] > 0 and found["wall_ms"] > 0
