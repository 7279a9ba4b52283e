"""Mutated parts of a `.keras` file whose hash is right again: a detector or an `MkdError`; nothing is opened.

`make fuzz` mutates 10,000 times. A hash tells damage; these files are as somebody would make them on purpose.
"""

import resource
import time
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from mkd_tf.checks import MkdError
from mkd_tf.detectors.closed import sign
from mkd_tf.detectors.files import load_detector
from tests import faults, mutations
from tests.fuzzing import cases
from tests.stored import KINDS

SECONDS, MEBIBYTES = 5.0, 1500
"""Of the processor; of memory, for all mutations together: Keras keeps some of each network it builds."""


def packed(path, parts) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    sign(path)


def test_parts_with_a_hash_that_is_right(tmp_path):
    path = KINDS["a .keras file"].write(tmp_path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert set(parts) == {"metadata.json", "config.json", "model.weights.h5"}
    packed(path, parts)
    assert load_detector(path).class_names == ("a", "b")
    # What describes the layers is read first and can ask for most.
    names = ("config.json", "config.json", "config.json", "metadata.json", "model.weights.h5")

    @given(seed=st.integers(0, 2**63))
    @cases(10)
    def search(seed):
        rng = mutations.chance(seed)
        name = rng.choice(names)
        packed(path, parts | {name: mutations.mutated(rng, parts[name])})
        began = time.process_time()
        with faults.opened() as opened:
            try:
                load_detector(path)
            except MkdError as error:
                assert "a.keras" in str(error)
        assert time.process_time() - began < SECONDS
        assert not [place for place in opened if not place.startswith(str(tmp_path))], opened

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    search()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES
