"""Whole folders of damaged files of every format, from a plain path: a data set or an `MkdError`.

What is read keeps its promises: boxes inside of their images, labels that are classes, and no image of
a damaged annotation that counts as background without a word.
"""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkd_tf.checks import MkdError
from mkd_tf.config import DataConfig
from mkd_tf.data import open_dataset
from mkd_tf.data.base import annotation_of, unknown_of
from tests.data.sources.test_cases_texts import CVAT, FILES
from tests.data.sources.test_cases_texts import VOC as VOC_XML
from tests.data.sources.voc_maker import noise_image
from tests.fuzzing import cases

YAML = "path: .\ntrain: images\nval: images\nnc: 1\nnames:\n  0: cat\n"
LISTS = {"train.txt": "a\nb\n", "val.txt": "c\n"}
LABEL = "0 0.3125 0.541666667 0.3125 0.583333333\n"
FEATURES = {
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "featuresDict": {
        "features": {"image": {"pythonClassName": "x", "image": {"shape": {"dimensions": ["-1"]}}}}
    },
}
FOLDERS = {
    "VOC": {f"Annotations/{n}.xml": VOC_XML for n in "abc"}
    | {f"ImageSets/Main/{name}": text for name, text in LISTS.items()},
    "COCO": {"instances.json": FILES["COCO"]["a.json"].replace("a.jpg", "images/a.jpg")},
    "YOLO": {"data.yaml": YAML} | {f"labels/{n}.txt": LABEL for n in "abc"},
    "darknet": {
        "obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n",
        "obj.names": "cat\n",
    }
    | {"train.txt": "data/images/a.jpg\nimages/b.jpg\n"}
    | {f"images/{n}.txt": LABEL for n in "abc"},
    "CVAT": {"annotations.xml": CVAT.replace("a.jpg", "images/a.jpg")},
    "labelme": {f"images/{n}.json": FILES["labelme"]["a.json"].replace("a.jpg", f"{n}.jpg") for n in "abc"},
    "Label Studio": {"tasks.json": FILES["Label Studio"]["tasks.json"]},
    "tfds": {
        "1.0.0/dataset_info.json": json.dumps(
            {"name": "x", "version": "1.0.0", "fileFormat": "tfrecord", "splits": [{"name": "train"}]}
        ),
        "1.0.0/features.json": json.dumps(FEATURES),
    },
}
PIECES = st.one_of(
    st.sampled_from(
        [
            "",
            "\0",
            "\n",
            "{",
            "}",
            "[",
            "]",
            "<",
            ">",
            "&",
            '"',
            ",",
            ":",
            "-",
            "nan",
            "1e999",
            "null",
            "true",
        ]
    ),
    st.sampled_from(
        ["../", "/", "\\", "%20", "C:\\", "\ufeff", "é", "e\u0301", "0", "-1", "9" * 400, " ", "\t"]
    ),
    st.text(max_size=4),
)


def damaged(text: str, place: float, length: int, piece: str) -> str:
    start = int(place * len(text))
    return text[:start] + piece + text[start + length :]


DAMAGE = st.tuples(
    st.floats(0, 1),
    st.integers(0, 12),
    PIECES,
    st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"]),
)


@pytest.mark.parametrize("form", FOLDERS)
def test_damaged_folders(form: str, tmp_path_factory) -> None:
    home = tmp_path_factory.mktemp("folders")
    pictures = {}
    for number, name in enumerate("abc"):
        pictures[name] = home / f"{name}.jpg"
        noise_image(number).save(pictures[name])

    @cases(15)
    @given(st.lists(DAMAGE, min_size=1, max_size=3), st.sampled_from(["fail", "skip"]), st.randoms())
    def check(several, mode, random) -> None:
        root = home / "set"
        shutil.rmtree(root, ignore_errors=True)
        (root / "images").mkdir(parents=True)
        for name, path in pictures.items():
            (root / "images" / f"{name}.jpg").symlink_to(path)
        files = dict(FOLDERS[form])
        contents = {name: text.encode() for name, text in files.items()}
        for place, length, piece, encoding in several:
            name = random.choice(sorted(files))
            files[name] = damaged(files[name], place, length, piece)
            contents[name] = files[name].encode(encoding, "replace")
        for name, content in contents.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        try:
            data = open_dataset(DataConfig(dataset=str(root), on_bad_example=mode))
        except MkdError as error:
            assert str(root) in str(error) or "flag" in str(error), error
            return
        for split in data.split_names:
            for index in range(len(data.split(split))):
                found = annotation_of(data.split(split), index)
                boxes, areas = found["objects"]["bbox"], unknown_of(found)
                assert np.isfinite(boxes).all() and np.isfinite(areas).all()
                assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, 2:] > boxes[:, :2]).all()
                assert all(0 <= label < len(data.class_names) for label in found["objects"]["label"])
        assert all(name == name.strip() and len(name.splitlines()) == 1 for name in data.class_names)

    check()
