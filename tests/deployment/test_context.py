"""Where an export begins: what is not there is told."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.deployment.context import read_labels, trained_model


def test_trained_model(tmp_path):
    with pytest.raises(MkdError, match=r"expected a trained student \(student/best.keras\), got no trained"):
        trained_model(tmp_path, "student")
    for role in ("student", "guide"):
        (tmp_path / role).mkdir()
        (tmp_path / role / "best.keras").touch()
    assert trained_model(str(tmp_path), "student") == tmp_path / "student/best.keras"
    with pytest.raises(MkdError, match="expected a trained teacher .*, got only guide, student"):
        trained_model(tmp_path, "teacher")


def test_labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("eins\nzwei ä\n", encoding="utf-8")
    assert read_labels("") is None
    assert read_labels(str(path)) == ["eins", "zwei ä"]
    path.write_text("eins\nzwei ä\n", encoding="utf-8-sig")
    assert read_labels(str(path)) == ["eins", "zwei ä"], "as Windows saves it"
    path.write_bytes(b"\xff\xfe")
    for name in (path, tmp_path / "none.txt"):
        with pytest.raises(MkdError, match=rf"labels {name}: cannot be read"):
            read_labels(str(name))
