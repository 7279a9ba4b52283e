"""TensorBoard reads what is written for it, and nothing in it names the machine."""

import socket
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mkd_tf.experiments.measuring import write_hparams
from mkd_tf.training.event_files import EventFile, Events


def scalars(folder):
    """What TensorBoard shows of a folder: (step, value) by tag."""
    shown = EventAccumulator(str(folder)).Reload()
    found = {tag: [(s.step, s.value) for s in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}
    # It turns plain values into tensors where a file is of its second version.
    tensors = {tag: shown.Tensors(tag) for tag in shown.Tags()["tensors"]}
    return found | {t: [(e.step, *e.tensor_proto.float_val) for e in v] for t, v in tensors.items()}


def test_epochs_are_shown(tmp_path):
    events = Events(tmp_path)
    events.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.25)))
    events.on_epoch_end(0, {"total": 1.5})
    # On the disk before anything is closed: a run may be killed.
    assert scalars(tmp_path / "train")["epoch_total"] == [(0, 1.5)]
    events.on_epoch_end(1, {"total": 0.5, "val_AP": 12.5})
    events.on_train_end()
    again = Events(tmp_path)
    again.set_model(events.model)
    again.on_epoch_end(2, {"total": 0.25})
    again.on_train_end()
    train = scalars(tmp_path / "train")
    assert train["epoch_total"] == [(0, 1.5), (1, 0.5), (2, 0.25)]
    assert train["epoch_learning_rate"] == [(0, 0.25), (1, 0.25), (2, 0.25)]
    assert scalars(tmp_path / "validation")["epoch_AP"] == [(1, 12.5)]
    assert len(list((tmp_path / "train").iterdir())) == 2


@pytest.mark.parametrize("what", ["epochs", "parameters"])
def test_nothing_names_the_machine(tmp_path, what):
    if what == "epochs":
        EventFile(tmp_path).scalars(0, {"a": 1.0})
    else:
        write_hparams(tmp_path / "cell", {"arm": "b", "seed": 1}, 12.5)
        assert scalars(tmp_path / "cell")["test/AP"] == [(0, 12.5)]
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files
    for path in files:
        assert socket.gethostname() not in path.name
        assert socket.gethostname().encode() not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()
