"""The normalisation layer on values, names, paths and masks of any content."""

import numpy as np
from faster_coco_eval.core import mask
from hypothesis import given
from hypothesis import strategies as st

from mkd_tf.data.sources.masks import rle_box
from mkd_tf.data.sources.names import class_name, one_line
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.paths import ImageFolder, parts_of
from mkd_tf.data.sources.values import flag, number, record_id
from tests.data.sources.junk import VALUES
from tests.fuzzing import cases


@given(value=VALUES, text=st.text(max_size=12))
@cases(100)
def test_values_and_names_of_anything(value, text):
    for read in (flag, number):
        for given_value in (value, text):
            try:
                assert isinstance(read(given_value, "x"), bool | float)
            except BadExample as error:
                assert str(error).startswith("x is ")
    found = record_id(value)
    assert found is None or record_id(found) == found == record_id(str(found))
    try:
        name = class_name(text, "file", Notices())
    except BadExample:
        return
    assert name == one_line(name) == name.strip() and len(name.splitlines()) == 1


@given(
    name=st.text(max_size=30),
    listed=st.lists(st.sampled_from(("a.jpg", "b c.jpg", "x/a.jpg", "É.png")), max_size=3),
)
@cases(60)
def test_paths_of_anything(tmp_path_factory, name, listed):
    folder = tmp_path_factory.getbasetemp() / "paths" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "secret.jpg").touch()
    for file in listed:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    images = ImageFolder(folder, Notices())
    for text in (name, f"../{name}", f"images\\{name}", f"../{name}/../secret.jpg", *listed):
        try:
            found = images.find(text)
        except BadExample:
            continue
        assert found.is_file() and folder in found.parents and ".." not in found.parts
    assert all(part not in ("", ".") for part in parts_of(name))


def masks(width):
    return st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=12)


@given(pixels=st.integers(1, 12).flatmap(masks))
@cases(60)
def test_masks_have_the_box_of_their_pixels(pixels):
    """Against COCO's own encoder, in both of its forms."""
    array = np.asfortranarray(pixels, "uint8")
    rows, columns = np.nonzero(array)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
    flat = array.ravel(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    counts = np.diff([0, *changes, len(flat)]).tolist()
    assert rle_box(counts, array.shape) == expected
    encoded = mask.encode(array)
    assert rle_box(encoded["counts"], encoded["size"]) == expected
