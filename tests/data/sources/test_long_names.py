"""A name that no file system takes, in files of every format and as the data set: an `MkdError`."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.config import DataConfig
from mkd_tf.data import open_dataset
from tests.data.sources.test_folders_fuzz import FOLDERS
from tests.data.sources.voc_maker import noise_image

LONG = "9" * 400


@pytest.mark.parametrize("form", [form for form in FOLDERS if form != "tfds"])
@pytest.mark.parametrize("old", ["a.jpg", "images", "a\n"])
def test_an_image_or_folder_of_a_name_beyond_the_system(form, old, tmp_path):
    (tmp_path / "images").mkdir()
    for number, name in enumerate("abc"):
        noise_image(number).save(tmp_path / "images" / f"{name}.jpg")
    for name, text in FOLDERS[form].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace(old, old[:1] + LONG + old[1:]))
    try:
        open_dataset(DataConfig(dataset=str(tmp_path)))
    except MkdError as error:
        assert str(tmp_path) in str(error)


def test_a_data_set_of_such_a_name(tmp_path):
    with pytest.raises(MkdError, match="expected"):
        open_dataset(DataConfig(dataset=f"{tmp_path}/{LONG}"))
