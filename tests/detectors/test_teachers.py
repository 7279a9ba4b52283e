"""The teacher that a run asks for, in training and in a file."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.config import TEACHER_VIEWS
from mkd_tf.detectors import Ensemble, Flipped, assemble_teacher
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.detectors.flipped import VIEWS
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import STRATEGIES
from tests import harness
from tests.strategies import fakes

SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8, tower=0, block='plain')"
_LOAD_ELSEWHERE = """
import sys
import mkd_tf
import keras
import numpy as np
folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
teacher = keras.saving.load_model(f"{folder}/teacher.keras", safe_mode=True)
distiller = keras.saving.load_model(f"{folder}/distiller.keras", safe_mode=True)
np.savez(f"{folder}/file.npz", **teacher(images))
np.savez(f"{folder}/distiller.npz", **distiller.teacher(images))
"""


def member(seed, **options):
    return harness.shake(harness.build(SPEC, seed=seed, **options), seed)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two detectors' files, of the same name as models."""
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (0, 1):
        save_detector(member(seed), folder / f"{seed}.keras")
    return folder


def test_options_and_views_agree():
    assert ("none", *VIEWS) == TEACHER_VIEWS


def test_one_network_is_itself(files):
    network = member(0)
    assert assemble_teacher(network) is network
    assert assemble_teacher([network], "none") is network
    assert type(assemble_teacher(f"{files}/0.keras")) is type(network)
    assert type(assemble_teacher(files / "0.keras")) is type(network)


def test_several_files_are_an_ensemble(files):
    images = harness.random_images(2)
    found = assemble_teacher(f"{files}/0.keras, {files}/1.keras")
    assert isinstance(found, Ensemble)
    expected = Ensemble([member(0), member(1)])(images)
    for name, x in found(images).items():
        np.testing.assert_allclose(x, expected[name], atol=1e-5, err_msg=name)
    both = assemble_teacher([files / "0.keras", member(1)], "flip")
    assert isinstance(both, Flipped)
    assert (both.views, [m.name for m in both.network.members]) == ("flip", ["tiny", "tiny"])
    assert assemble_teacher(member(0), "half_turn").views == "half_turn"


@pytest.mark.parametrize("given", ["", " , ", []])
def test_no_teacher_is_told(given):
    with pytest.raises(MkdError, match="teacher: expected a network or a .keras file, got none"):
        assemble_teacher(given)


def test_mistakes_are_told(files):
    with pytest.raises(MkdError, match="no.keras: expected a .keras file, got no such file"):
        assemble_teacher(f"{files}/0.keras,{files}/no.keras")
    with pytest.raises(MkdError, match="teacher_views: expected one of none, flip, half_turn, got 'both'"):
        assemble_teacher(member(0), "both")
    with pytest.raises(MkdError, match="member 2 .*: expected the classes"):
        assemble_teacher([files / "0.keras", member(1, num_classes=2)])


def test_a_distiller_learns_from_it_and_a_file_keeps_it(tmp_path):
    """An ensemble over two views: in the step, in a file of its own and in the distiller's."""
    teacher = assemble_teacher([member(0), member(1)], "flip")
    strategies = [STRATEGIES.build(spec) for spec in ("soft_classes", "soft_boxes", "layer_relation")]
    distiller = Distiller(member(2), teacher, strategies=strategies)
    distiller.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    images = harness.random_images(2)
    batch = {"images": images, "targets": {"student": fakes.targets(fakes.port(), 2)}}
    before = [np.array(v) for v in teacher.variables]
    history = distiller.fit(
        tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=1, epochs=12, shuffle=False, verbose=0
    )
    assert history.history["total"][-1] < 0.9 * history.history["total"][0]
    assert all(history.history[s.name][-1] > 0 for s in strategies)
    for a, b in zip(before, teacher.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    fixed = {id(v) for v in teacher.variables}
    assert not [v.path for v in distiller.trainable_variables if id(v) in fixed]

    save_detector(teacher, tmp_path / "teacher.keras")
    again = load_detector(tmp_path / "teacher.keras")
    assert (type(again), again.views, again.name) == (Flipped, "flip", teacher.name)
    assert (again.class_names, again.image_size) == (teacher.class_names, teacher.image_size)
    distiller.save(tmp_path / "distiller.keras")
    np.save(tmp_path / "images.npy", images)
    child = subprocess.run(
        [sys.executable, "-c", _LOAD_ELSEWHERE, tmp_path],
        env=os.environ | {"PYTHONPATH": str(harness.ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    expected = teacher(images)
    for file in ("file.npz", "distiller.npz"):
        with np.load(tmp_path / file) as found:
            assert set(found) == set(expected)
            for name in expected:
                np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
