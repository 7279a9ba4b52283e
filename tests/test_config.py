"""The configuration: values by flag name, and what is refused."""

import dataclasses

import pytest

from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.config import Config


def test_values_and_configuration_are_inverse():
    values = configuration.to_values(Config())
    changed = values | {"dataset": "voc/2007", "seed": 7, "beta": 2.0, "labelled": 50, "baseline": True}
    config = configuration.from_values(changed)
    assert configuration.to_values(config) == changed
    assert (config.data.dataset, config.run.seed, config.task.beta) == ("voc/2007", 7, 2.0)
    assert configuration.from_values({}) == Config()


def test_every_option_has_one_name_and_a_help_text():
    groups = [dataclasses.fields(group.default_factory) for group in dataclasses.fields(Config)]
    names = [field.name for group in groups for field in group]
    assert len(set(names)) == len(names)
    assert list(configuration.options()) == names == list(configuration.to_values(Config()))
    for name, field in configuration.options().items():
        assert field.metadata["help"].strip().endswith("."), name
        assert isinstance(field.metadata["free"], bool), name


def test_what_decides_a_result_is_not_free():
    free = {name for name, field in configuration.options().items() if field.metadata["free"]}
    assert {"workdir", "data_dir", "cache_gb", "tensorboard"} <= free
    assert not free & {"dataset", "seed", "strategies", "image_size", "learning_rate", "batch_size", "fit"}


def test_a_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().run.seed = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unlabelled_share", 1.5),
        ("teacher_boxes", -0.1),
        ("on_bad_example", "ignore"),
        ("fit", "crop"),
        ("labelled", -1),
        ("flips", "vertical"),
        ("scale_min", 0.0),
        ("scale_max", 0.5),
        ("mosaic", 1.5),
        ("mixup", -0.1),
        ("mixed_images", "strong"),
        ("teacher_views", "both"),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("ema_decay", 1.1),
        ("eval_every", 0),
        ("jit_compile", "yes"),
    ],
)
def test_a_value_out_of_range_is_told_by_its_name(name, value):
    with pytest.raises(MkdError, match=f"^{name}: expected .*, got "):
        configuration.from_values({name: value})


def test_roles_without_a_size_of_their_own_take_the_students():
    roles = configuration.from_values({"image_size": 96, "teacher_image_size": 192}).roles
    sizes = {role: roles.size_of(role) for role in ("teacher", "guide", "student", "student_alone")}
    assert sizes == {"teacher": 192, "guide": 96, "student": 96, "student_alone": 96}


@pytest.mark.parametrize(("guide", "has"), [("", False), ("none", False), ("tiny(size='guide')", True)])
def test_a_guide_can_be_left_out(guide, has):
    assert configuration.from_values({"guide": guide}).roles.has_guide is has


def test_mosaic_and_mixup_share_a_batch():
    configuration.from_values({"mosaic": 0.7, "mixup": 0.3})
    with pytest.raises(MkdError, match="mixup: expected at most 1 - mosaic = 0.25, got 0.5"):
        configuration.from_values({"mosaic": 0.75, "mixup": 0.5})


def test_a_seed_that_numpy_would_refuse_is_told_at_once():
    configuration.from_values({"seed": 429_496_728})
    with pytest.raises(MkdError, match="seed: expected at most 429496728, got 429496729"):
        configuration.from_values({"seed": 429_496_729})
