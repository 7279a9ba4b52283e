"""What a network's arguments may ask for, of a flag and of a file of somebody else."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.file_limits import FileLimits

SMALL = "tiny(widths=(4, 4, 4, 4), pyramid=4, tower=0, block='plain')"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tiny(widths=(20000, 20000, 20000, 20000))", "tiny widths: expected 1 to 2048, got 20000"),
        ("tiny(pyramid=100000)", "tiny pyramid: expected 1 to 1024, got 100000"),
        ("tiny(tower=1000)", "tiny tower: expected 0 to 8, got 1000"),
        ("tiny(bins=100000)", "tiny bins: expected 0 to 64, got 100000"),
        ("tiny(anchor_scale=0.0)", "tiny anchor_scale: expected 0.1 to 64, got 0.0"),
        ("tiny(prior=1.5)", "tiny prior: expected 1e-06 to 0.9, got 1.5"),
        ("resnet(width=1000.0)", "resnet width: expected 0.01 to 4, got 1000.0"),
        ("mobilenet_v2(alpha=100.0)", "mobilenet_v2"),
        ("efficientnet_lite(pyramid=0)", "efficientnet_lite pyramid: expected 1 to 1024, got 0"),
    ],
)
def test_a_network_without_end_is_refused_before_it_is_built(spec, message):
    with pytest.raises(MkdError, match=message):
        DETECTORS.build(spec, image_size=64, class_names=("a", "b"))


def test_an_input_without_end_is_refused():
    with pytest.raises(MkdError, match="image_size: expected 32 to 4096, got 64000"):
        DETECTORS.build(SMALL, image_size=64000, class_names=("a", "b"))


@pytest.mark.parametrize("names", ["ab", ["a" * 300], [1, 2], ["a"] * 20_000])
def test_class_names_are_few_and_short(names):
    with pytest.raises(MkdError, match="class_names: expected at most 10,000 classes"):
        DETECTORS.build(SMALL, image_size=32, class_names=names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone_weights": "/etc/passwd"}, "backbone_weights in the file of Tiny: expected none"),
        ({"backbone_weights": "imagenet"}, "backbone_weights in the file of Tiny: expected none"),
        ({"widths": [20000] * 4}, "tiny widths: expected 1 to 2048"),
        ({"image_size": 10**6 * 32}, "image_size: expected 32 to 4096"),
        ({"no_such": 1}, "not a readable .keras file"),
    ],
)
def test_a_file_may_ask_for_no_more_than_a_flag_and_names_no_other_file(tmp_path, change, message):
    save_detector(DETECTORS.build(SMALL, image_size=32, class_names=("a", "b")), tmp_path / "whole.keras")
    changed = tmp_path / "changed.keras"
    with zipfile.ZipFile(tmp_path / "whole.keras") as source, zipfile.ZipFile(changed, "w") as target:
        for item in source.namelist():
            data = source.read(item)
            if item == "config.json":
                config = json.loads(data)
                config["config"] |= change
                data = json.dumps(config).encode()
            target.writestr(item, data)
    with pytest.raises(MkdError, match=message):
        load_detector(changed)
    shutil.copy(tmp_path / "whole.keras", changed)
    assert load_detector(changed).class_names == ("a", "b")


def test_a_file_that_unpacks_to_more_than_the_limit_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("model.weights.h5", bytes(5_000_000))
    monkeypatch.setattr("mkd_tf.detectors.closed.limits", lambda: FileLimits(model_gib=0.004))
    told = "bomb.keras: expected at most 0.004 GiB when unpacked, got 0.0047 GiB"
    with pytest.raises(MkdError, match=told):
        load_detector(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    detector = DETECTORS.build(SMALL, image_size=32, class_names=("a", "b"))
    variable = detector.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.nan))
    save_detector(detector, tmp_path / "broken.keras")
    with pytest.raises(MkdError, match="broken.keras: expected finite weights, got .* in .*kernel"):
        load_detector(tmp_path / "broken.keras")
