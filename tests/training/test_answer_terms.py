"""What a teacher that only answers with detections leaves of a run's plan."""

import pytest

from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.training.answer_terms import answers_only, check_answers, said_of, usable
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import expanded, plan

SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8)"
FILE = "detections(path='predictions.json')"


def config(**values):
    small = {"teacher": FILE, "guide": SPEC, "student": SPEC, "image_size": 64}
    return configuration.from_values(small | values)


def test_teachers_of_the_table_only_answer():
    assert answers_only(FILE)
    assert answers_only(" onnx(path='x.onnx'), tflite(path='y.tflite')")
    assert not answers_only("tiny(size='teacher')")
    assert not answers_only("")


@pytest.mark.parametrize(
    ("strategies", "has_guide", "kept", "said"),
    [
        ("soft_classes, soft_boxes(weight=2.0)", True, "soft_classes, soft_boxes(weight=2.0)", ""),
        (
            "soft_boxes, layer_relation(weight=0.5)",
            True,
            "soft_boxes, layer_relation(weight=0.5, source='guide')",
            "the guide, not the teacher, is the source of layer_relation",
        ),
        ("soft_boxes, layer_relation", False, "soft_boxes", "off are layer_relation"),
        ("hint(source='guide')", True, "hint(source='guide')", ""),
        ("hint(source='teacher'), soft_classes", True, "soft_classes", "off are hint"),
        ("localization", False, "", "off are localization"),
        ("soft_classes(source='best')", True, "soft_classes(source='best')", ""),
    ],
)
def test_strategies_without_a_source_take_the_guide_or_are_off(strategies, has_guide, kept, said):
    assert usable(strategies, has_guide) == (kept, said)


def test_the_plan_has_no_stage_of_the_teacher():
    stages = {s.role: s for s in plan(config(strategies="mkd", baseline=True).roles)}
    assert list(stages) == ["guide", "student_alone", "student"]
    assert stages["guide"].sources == ("teacher",)
    assert stages["student"].sources == ("teacher", "guide")
    assert stages["student"].strategies.count("source='guide'") == 4
    lines = said_of(config(strategies="mkd").roles, expanded("mkd", has_guide=True))
    assert len(lines) == 2
    assert lines[1].startswith("student: the guide, not the teacher, is the source of cross_head, ")
    lines = said_of(config(guide="none").roles, "attention_map")
    assert lines[1].startswith("student: off are attention_map, which need a source with features")


@pytest.mark.parametrize("mode", ["frozen", "learning"])
def test_every_stage_can_be_built(mode):
    made = config(
        strategies="mkd", guide_mode=mode, guide_image_size=128, guide_strategies="soft_boxes, hint"
    )
    stages = plan(made.roles)
    networks = Networks(made, ("a", "b"))
    networks.check(stages)
    built = {role: networks.build(role, SPEC) for role in ("guide", "student")}
    distiller = networks.distiller(stages[-1], built["student"], built, steps=10)
    # Student and guide have anchors of their own when they learn together.
    both = len(built["student"].anchors) + len(built["guide"].anchors)
    expected = both if mode == "learning" else len(built["student"].anchors)
    assert len(distiller.teacher.anchors) == expected
    guided = [s.name for s in distiller.strategies if s.target == "guide"]
    assert guided == (["guide_soft_boxes"] if mode == "learning" else [])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"teacher_weights": "x.keras"}, "teacher_weights: expected nothing beside --teacher=detections"),
        ({"guide_init": "teacher"}, "guide_init: expected auto, random, got teacher"),
        ({"student_init": "teacher"}, "student_init: expected auto, random or guide, got teacher"),
    ],
)
def test_options_that_need_a_network_are_refused(values, told):
    with pytest.raises(MkdError, match=told):
        check_answers(config(**values).roles)


def test_the_path_of_a_trained_network_is_enough():
    made = config(teacher="runs/a.keras, runs/b.keras").roles
    assert (made.teacher, made.teacher_weights) == ("tiny(size='teacher')", "runs/a.keras, runs/b.keras")
    assert config().roles.teacher == FILE


def test_thresholds_of_classes_need_the_gate():
    with pytest.raises(MkdError, match="teacher_thresholds: expected common with teacher_gate=off"):
        config(teacher_thresholds="per_class", teacher_gate="off")
