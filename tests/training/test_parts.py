"""What a stage's networks leave of the whole method, and what the run says."""

import keras
import pytest
from keras.layers import Concatenate, Conv2D, Reshape

import mkd_tf
from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.training.networks import Networks, strategies_of
from mkd_tf.training.plan import plan

SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8)"
PREDICTIONS = {"soft_classes": "teacher", "soft_boxes": "teacher"}
BACKBONE = PREDICTIONS | {"attention_map": "teacher", "layer_relation": "teacher"}
WHOLE = BACKBONE | {"cross_head": "teacher", "hint": "teacher"}
WHOLE_IN_ORDER = ("cross_head", "attention_map", "layer_relation", "hint")


def checked(**values):
    """The sources of the strategies of a run's last stage, by name, and the lines of the run."""
    given = {"teacher": SPEC, "guide": "none", "student": SPEC, "image_size": 64, "strategies": "mkd"}
    made, lines = configuration.from_values(given | values), []
    networks = Networks(made, ("a", "b"))
    stage = networks.check(plan(made.roles, made.compression), say=lines.append)[-1]
    strategies = strategies_of(stage.strategies)
    return {s.name: s.source for s in strategies}, lines


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Files of foreign networks by what a strategy can have of them."""
    maps = [keras.Input((64, 64, 3))]
    for width in (8, 16, 16, 16, 16):
        maps.append(Conv2D(width, 3, 2, "same", activation="relu")(maps[-1]))
    pyramid = [Conv2D(16, 1)(m) for m in maps[3:]]
    both = [Concatenate()(pair) for pair in zip(pyramid, maps[3:], strict=True)]
    backbone = dict(zip(("C3", "C4", "C5"), maps[3:], strict=True))
    taps = backbone | dict(zip(("P3", "P4", "P5"), pyramid, strict=True))
    folder, files = tmp_path_factory.mktemp("foreign"), {}
    for name, ends, own in (
        ("whole", pyramid, taps),
        ("headless", both, taps),
        ("backbone", pyramid, backbone),
        ("predictions", pyramid, {}),
    ):
        classes = Concatenate(1)([Reshape((-1, 3))(Conv2D(3, 1)(m)) for m in ends])
        boxes = Concatenate(1)([Reshape((-1, 4))(Conv2D(4, 1)(m)) for m in ends])
        detector = mkd_tf.adapt(
            keras.Model(maps[0], {"class_logits": classes, "box_encodings": boxes}),
            anchors=mkd_tf.grid_anchors(64),
            class_names=("a", "b"),
            taps=own,
            scale=1 / 255,
            activation="softmax",
            background="first",
            box_coder="fcos",
        )
        files[name] = str(folder / f"{name}.keras")
        mkd_tf.save_detector(detector, files[name])
    return files


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("whole", WHOLE),
        ("headless", BACKBONE | {"hint": "teacher"}),
        ("backbone", BACKBONE),
        ("predictions", PREDICTIONS),
    ],
)
def test_what_a_foreign_teacher_lacks_is_left_out_and_named(foreign, name, left):
    found, lines = checked(teacher_weights=foreign[name])
    assert found == left
    assert len(lines) == len(WHOLE) - len(left)
    for line, lacked in zip(lines, [n for n in WHOLE_IN_ORDER if n not in left], strict=True):
        assert line.startswith(f"student: mkd goes without {lacked} (")
        assert ": expected " in line


def test_the_guide_gives_what_the_teacher_lacks(foreign):
    found, lines = checked(teacher_weights=foreign["headless"], guide=SPEC)
    assert found == WHOLE | {"cross_head": "guide", "hint": "guide"}
    assert len(lines) == 1
    assert lines[0].startswith("student: cross_head of mkd learns from the guide (head of adapted: expected")
    found, _ = checked(teacher_weights=foreign["predictions"], guide=SPEC)
    assert found == PREDICTIONS | dict.fromkeys(WHOLE_IN_ORDER, "guide")
    # And the other way round: hints are the guide's first.
    found, _ = checked(guide=SPEC, guide_weights=foreign["backbone"])
    assert found == WHOLE


def test_several_teachers_or_views_have_no_head_in_common(foreign):
    assert "cross_head" not in checked(teacher_views="flip")[0]
    file = foreign["whole"]
    found, lines = checked(teacher_weights=f"{file},{file}")
    assert found == BACKBONE | {"hint": "teacher"}
    assert lines[0].startswith("student: mkd goes without cross_head (head of ensemble: expected predictions")


def test_sizes_without_a_common_grid_leave_predictions():
    assert checked(teacher_image_size=128) == (WHOLE, [])
    assert checked(teacher_image_size=96)[0] == PREDICTIONS


def test_a_compression_is_asked_anew():
    more = {"student": "tiny(size='fast')", "strategies": "soft_classes", "compress": "qat"}
    found, lines = checked(**more, compress_strategies="mkd", teacher_views="flip")
    assert found == BACKBONE | {"hint": "teacher"}
    assert [line.split(" (")[0] for line in lines] == ["student_qat: mkd goes without cross_head"]


def test_a_part_by_its_own_name_is_refused(foreign):
    for strategies in ("soft_classes, cross_head", "cross_head(weight=0.3)"):
        with pytest.raises(MkdError, match="head of adapted: expected predictions that follow from P3"):
            checked(teacher_weights=foreign["headless"], strategies=strategies)
