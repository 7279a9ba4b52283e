"""results.json: written whole, read with care, shown as a table."""

import io
import json

import pytest
from rich.console import Console

from mkd_tf.checks import MkdError
from mkd_tf.evaluation.results import empty_results, merge_role, read_results, results_table, write_results
from tests.records import ROLE


def test_what_is_written_is_read(tmp_path):
    results = merge_role(empty_results(command="train", image_size=128), "student", ROLE)
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json") == results
    assert json.loads((tmp_path / "results.json").read_text())["schema"] == 1


def test_merging_keeps_what_was_there_and_changes_no_argument():
    first = merge_role(empty_results(commit="abc"), "teacher", {"AP": 50.0, "seconds": 9})
    second = merge_role(merge_role(first, "student", ROLE), "teacher", {"AP": 51.0})
    assert second["roles"]["teacher"] == {"AP": 51.0, "seconds": 9}
    assert second["roles"]["student"] == ROLE and second["commit"] == "abc"
    assert first["roles"] == {"teacher": {"AP": 50.0, "seconds": 9}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "roles"', "expected JSON, got a damaged file"),
        ("", "expected JSON"),
        ("[]", "expected results of schema 1, got list"),
        ('{"roles": {}}', "expected results of schema 1, got None"),
        ('{"schema": 2}', "expected results of schema 1, got 2"),
        ('{"schema": 1, "roles": {"student": 3}}', "roles.student: expected a valid dictionary, got 3"),
        (
            '{"schema": 1, "roles": {"student": {"AP": 412.0}}}',
            "roles.student.AP: expected a number less than or equal to 100, got 412",
        ),
        (
            '{"schema": 1, "roles": {"student": {"VOC07_AP": -1}}}',
            "roles.student.VOC07_AP: expected a number greater than or equal to 0, got -1",
        ),
    ],
)
def test_a_damaged_file_is_told(tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(MkdError, match=message) as told:
        read_results(path)
    assert str(path) in str(told.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(MkdError, match="no such file.*Train or evaluate"):
        read_results(tmp_path / "results.json")
    with pytest.raises(MkdError, match="cannot be read"):
        read_results(tmp_path)


def test_a_fraction_where_percent_belong_or_nan_is_not_written(tmp_path):
    with pytest.raises(MkdError, match="roles.student.AP50: expected a finite number, got nan"):
        write_results(
            tmp_path / "r.json", merge_role(empty_results(), "student", ROLE | {"AP50": float("nan")})
        )
    assert not (tmp_path / "r.json").exists()


def test_the_table_has_a_row_per_role_in_order():
    results = empty_results()
    for role in ("student_qat", "other", "student", "teacher"):
        results = merge_role(results, role, ROLE if role == "student" else {"AP": 0.0})
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(results_table(results))
    text = console.export_text()
    places = [text.index(role) for role in ("teacher", "student ", "other", "student_qat")]
    assert places == sorted(places)
    row = next(line for line in text.splitlines() if "student " in line)
    for cell in ("41.2", "70.0", "–", "0.05 M", "5.88 M", "128", "30 / 390", "65"):
        assert cell in row
    assert "test" in text.splitlines()[0]
