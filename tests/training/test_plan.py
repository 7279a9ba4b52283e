"""Which stages a run has."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.config import CompressionConfig, RolesConfig
from mkd_tf.training.plan import plan


def stages(compress: str, **more) -> dict:
    compression = CompressionConfig(compress=compress, compress_epochs=4, **more)
    found = plan(RolesConfig(strategies="soft_classes"), compression)
    assert [s.role for s in found[:3]] == ["teacher", "guide", "student"]
    return {s.role: s for s in found[3:]}


def test_no_compression_no_stage():
    assert stages("") == {}


def test_a_compression_goes_on_from_the_student_with_its_terms():
    (stage,) = stages("qat").values()
    assert (stage.role, stage.start, stage.method, stage.epochs) == ("student_qat", "student", "qat", 4)
    assert (stage.strategies, stage.sources) == ("soft_classes", ("teacher", "guide"))


def test_chains_share_their_beginning():
    found = stages("float, float+qat")
    assert {role: s.start for role, s in found.items()} == {
        "student_float": "student",
        "student_float_qat": "student_float",
    }


def test_the_same_without_a_teacher():
    found = stages("float+qat", compress_baseline=True)
    assert list(found) == [
        "student_float",
        "student_float_qat",
        "student_float_alone",
        "student_float_qat_alone",
    ]
    alone = found["student_float_qat_alone"]
    assert (alone.start, alone.strategies, alone.sources) == ("student_float_alone", "", ())
    assert found["student_float_alone"].start == "student"


def test_other_strategies():
    found = stages("qat", compress_strategies="mkd")
    assert found["student_qat"].strategies.startswith(
        "soft_classes(weight=0.5), soft_boxes(weight=0.5), cross_head"
    )


def test_one_role_is_not_two_methods():
    with pytest.raises(MkdError, match="compress: expected each method once.*got qat and qat"):
        stages("qat, qat(preserve='sparsity')")
