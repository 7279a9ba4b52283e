"""A `.keras` file is what was saved, or is refused; nothing in it opens another file or asks for too much."""

import json
import shutil
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.closed import check_file
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.file_limits import FileLimits

SMALL = "tiny(widths=(4, 4, 4, 4), pyramid=4, tower=0, block='plain')"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A detector's file, and one of the same network as somebody else's model."""
    folder = tmp_path_factory.mktemp("saved")
    detector = DETECTORS.build(SMALL, image_size=32, class_names=("a", "b"))
    adapted = mkd_tf.adapt(detector.inference(), anchors=detector.anchors, class_names=("a", "b"))
    save_detector(detector, folder / "own.keras")
    save_detector(adapted, folder / "adapted.keras")
    return folder


def repacked(source, target, config=None, weights=None, comment=b""):
    """Writes an archive again with other parts, whose checksums are right."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as made:
        made.comment = comment
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json" and config:
                content = json.dumps(config(json.loads(content))).encode()
            if name == "model.weights.h5" and weights:
                content = weights(content)
            made.writestr(name, content)
    return target


def comment_of(path):
    with zipfile.ZipFile(path) as archive:
        return archive.comment


def test_every_flipped_bit_and_every_cut_is_refused(saved, tmp_path):
    whole, path = (saved / "own.keras").read_bytes(), tmp_path / "flipped.keras"
    rng = np.random.default_rng(0)
    harmless = 0
    for place in rng.integers(0, 8 * len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            check_file(path)
        except MkdError as error:
            assert "flipped.keras: expected the file as it was saved, got a damaged one" in str(error)
        else:  # A time or a flag of the archive, which nobody reads.
            harmless += 1
            np.testing.assert_equal(parts(path), parts(saved / "own.keras"))
    assert harmless < 10
    for length in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(MkdError, match="flipped.keras"):
            load_detector(path)


def parts(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def flipped(content):
    """Flips the lowest bit of one weight, within a sound HDF5 file."""
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def test_a_repacked_file_with_one_weight_bit_flipped_is_refused(saved, tmp_path):
    own = saved / "own.keras"
    path = repacked(own, tmp_path / "repacked.keras", weights=flipped, comment=comment_of(own))
    with pytest.raises(MkdError, match=r"repacked.keras: .* damaged one \(it differs from its hash\)"):
        load_detector(path)
    # The same parts have the same hash, whatever packs them.
    assert load_detector(repacked(own, path, comment=comment_of(own))).class_names == ("a", "b")
    # A file from elsewhere has no hash.
    assert load_detector(repacked(own, path)).class_names == ("a", "b")


def layer(name, module="keras.layers", **config):
    return {"module": module, "class_name": name, "config": {"name": "x", **config}, "registered_name": None}


@pytest.mark.parametrize(
    ("strange", "message"),
    [
        (layer("Lambda", function="f"), "layers that compute and open nothing, got 'Lambda'"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "got 'StringLookup' of keras.layers"),
        (layer("TFSMLayer", filepath="/models/x"), "got 'TFSMLayer'"),
        (layer("get_file", "keras.utils", origin="http://x"), "got 'get_file' of keras.utils"),
        (layer("Popen", "subprocess", args="id"), "got 'Popen' of subprocess"),
        (layer("Lambda", "keras.src.layers.core.lambda_layer"), "got 'Lambda'"),
        (layer("BytePairTokenizer", "keras_hub.src.x", vocabulary="v.json"), "got 'BytePairTokenizer'"),
        (layer("Backbone", "keras_hub.src.x", preset="hf://somebody/model"), "got 'Backbone'"),
        ({**layer("x"), "class_name": "function", "config": "eval", "module": "builtins"}, "got 'function'"),
        ({**layer("x"), "class_name": "function", "config": "deserialize"}, "got 'function'"),
        ({**layer("x"), "class_name": "__lambda__"}, "got '__lambda__'"),
        ({**layer("x"), "class_name": ["x"]}, "compute and open nothing"),
        (layer("Dense", units=10**9), r"sizes of at most 65,536, got units 1000000000 of Dense"),
        (layer("Conv2D", filters=60_000, kernel_size=[9, 9]), "layers of at most 1,073,741,824 weights"),
        (layer("Reshape", target_shape=[10**6, 10**6]), "sizes of at most 65,536"),
    ],
)
def test_a_file_with_another_kind_of_layer_is_refused_before_anything_is_built(
    saved, tmp_path, strange, message
):
    def changed(config):
        config["config"]["core"]["config"]["layers"].append(strange)
        return config

    path = repacked(saved / "adapted.keras", tmp_path / "strange.keras", config=changed)
    with pytest.raises(MkdError, match=message):
        load_detector(path)


def test_the_layers_of_an_adapted_model_are_allowed(saved):
    assert load_detector(saved / "adapted.keras").class_names == ("a", "b")


@pytest.mark.parametrize(
    "usual",
    [
        keras.layers.RandomFlip(),
        keras.layers.Embedding(4, 2),
        keras.layers.LSTM(4),
        keras.layers.MultiHeadAttention(2, 4),
        keras.layers.TimeDistributed(keras.layers.Dense(2)),
        keras.layers.SpectralNormalization(keras.layers.Conv2D(2, 3)),
    ],
    ids=lambda usual: type(usual).__name__,
)
def test_layers_that_compute_are_allowed(tmp_path, usual):
    path = tmp_path / "usual.keras"
    described = keras.saving.serialize_keras_object(usual)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", json.dumps(described))
    check_file(path)


def test_thousands_of_brackets_are_refused(saved, tmp_path):
    path = tmp_path / "deep.keras"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", "[" * 100_000)
        made.writestr("model.weights.h5", "")
    with pytest.raises(MkdError, match=r"deep.keras: .* damaged one"):
        load_detector(path)
    nested = "{'class_name': '__slice__', 'config': ".replace("'", '"')
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", nested * 900 + "1" + "}" * 900)
    with pytest.raises(MkdError, match=r"deep.keras"):
        load_detector(path)


def test_a_long_description_is_refused_unread(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("mkd_tf.detectors.closed.limits", lambda: FileLimits(layers_mib=1e-4))
    told = (
        r"own.keras: expected at most 0.0001 MiB that describe its layers, got .*--limits=layers_mib=NUMBER"
    )
    with pytest.raises(MkdError, match=told):
        load_detector(saved / "own.keras")


def test_weights_that_lie_in_another_file_are_refused(saved, tmp_path):
    """HDF5 can name other files for its values; Keras refuses it, and this holds it to that."""
    (tmp_path / "secret").write_bytes(bytes(4096))

    def outside(content):
        path = tmp_path / "w.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            names = []
            file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
            shape, kind = file[names[0]].shape, file[names[0]].dtype
            del file[names[0]]
            file.create_dataset(names[0], shape, kind, external=[(str(tmp_path / "secret"), 0, 4096)])
        return path.read_bytes()

    path = repacked(saved / "own.keras", tmp_path / "outside.keras", weights=outside)
    with pytest.raises(MkdError, match=r"outside.keras: not a readable .keras file"):
        load_detector(path)


def test_loading_opens_no_other_file_and_no_address(saved, tmp_path):
    path = shutil.copy(saved / "own.keras", tmp_path / "own.keras")
    load_detector(path)  # Whatever Python imports late is imported now.
    opened, watched = [], [True]

    def hook(event, arguments):
        if watched and event == "open" and isinstance(arguments[0], (str, bytes)):
            opened.append(str(arguments[0]))
        elif watched and event.startswith(("socket.", "urllib.", "subprocess.", "os.exec", "ftplib.")):
            opened.append(event)

    sys.addaudithook(hook)
    load_detector(path)
    watched.clear()
    strange = {o for o in opened if o != str(path) and "site-packages" not in o and not o.startswith("/proc")}
    assert str(path) in opened and not strange


def test_a_model_of_another_kind_is_told(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    with pytest.raises(MkdError, match=r"dense.keras: expected a detector, got Sequential"):
        load_detector(tmp_path / "dense.keras")
