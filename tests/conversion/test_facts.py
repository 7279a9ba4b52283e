"""What a file says of itself: written, read, shown; damaged facts are one clear error."""

import dataclasses
import json

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.facts import FileFacts

POINT = {"value": 0.37, "f1": 0.5, "chosen": "best F1", "per_class": {"a": 0.4}}
FACTS = FileFacts("0.2", "0123456789abcdef", "letterbox", ("a", "ü"), 0.11, 25, POINT, 128)


def test_facts_are_read_as_they_were_written():
    assert FileFacts.from_json(FACTS.to_json()) == FACTS
    # A later version may say more.
    told = json.loads(FACTS.to_json()) | {"more": 1}
    assert FileFacts.from_json(json.dumps(told)) == FACTS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "labels": 3}', "\x00"])
def test_damaged_facts_are_told(text):
    with pytest.raises(MkdError, match=r"mkd_tf\.json inside: damaged .*Export it again"):
        FileFacts.from_json(text)


def test_lines_for_people():
    assert FACTS.lines() == [
        "mkd_tf 0.2, source 0123456789ab, fit letterbox",
        "operating point 0.37 (best F1)",
        "suppression inside: scores from 0.11, at most 25 detections",
        "labels a, ü",
    ]
    raw = dataclasses.replace(FACTS, score_threshold=None, operating_point=None, source_sha256="")
    assert raw.lines()[:2] == ["mkd_tf 0.2, source not named, fit letterbox", "operating point not measured"]
    assert len(raw.lines()) == 3
