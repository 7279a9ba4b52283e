"""Names of files and folders as other systems and tools write them: cases 05, 06, 07 and 14."""

import shutil

import pytest
from PIL import Image

from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.paths import ImageFolder, parts_of
from tests.data.sources.cases import boxes, open_coco, open_voc, refusal, words
from tests.data.sources.voc_maker import VocMaker, object_xml

NFC, NFD = "caf\u00e9", "cafe\u0301"
CAT = [[10, 12, 30, 40]]


def listed(coco, name, **more):
    """Lists `name` with a cat; returns the data set."""
    coco.list_image(1, name, **more)
    coco.annotate(1)
    return open_coco(coco)


class TestUnicodeForms:
    @pytest.mark.parametrize(("xml", "image"), [(NFC, NFD), (NFD, NFC)])
    def test_voc_pairs_them(self, voc, xml, image):
        voc.write_image(image)
        voc.annotate(xml, object_xml())
        assert boxes(open_voc(voc)) == {NFC: CAT}

    @pytest.mark.parametrize(("line", "file"), [(NFC, NFD), (NFD, NFC), (f"{NFD}.jpg", NFC)])
    def test_a_list_names_them(self, voc, line, file):
        voc.add(file)
        voc.add("b")
        voc.write_list("train", line)
        assert list(boxes(open_voc(voc))) == [NFC]

    @pytest.mark.parametrize(("written", "file"), [(NFC, NFD), (NFD, NFC), (f"sub/{NFC}", f"sub/{NFD}")])
    def test_coco_finds_them_and_says_so(self, coco, written, file):
        coco.write_image(f"{file}.jpg")
        dataset = listed(coco, f"{written}.jpg")
        assert boxes(dataset) == {f"{file}.jpg": CAT}
        assert words(dataset) == [f"changed: images/: names of another Unicode form are used ({written}.jpg)"]

    def test_two_files_of_one_name_are_told_apart(self, voc):
        for name in (NFC, NFD):
            voc.add(name, object_xml(box=(1, 1, 9, 9 if name == NFC else 19)))
        assert sorted(boxes(open_voc(voc)).values()) == [[[1, 1, 9, 9]], [[1, 1, 9, 19]]]


class TestSuffixes:
    @pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jp2", ".avif", ".tga", ".JFIF", ".pgm", ".qoi"])
    def test_whatever_pillow_opens_is_an_image(self, voc, suffix):
        Image.init()
        kind = Image.registered_extensions()[suffix.lower()]
        voc.annotate("a", object_xml())
        Image.new("RGB", (64, 48), "red").save(voc.image_path(f"a{suffix}"), format=kind)
        assert boxes(open_voc(voc)) == {"a": CAT}

    def test_the_suffixes_are_pillows(self):
        """Those left out need another program (Ghostscript, GRIB, HDF5, ...) or hold no 8 or 16 bit image."""
        Image.init()
        opened = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
        others = {
            ".bufr",
            ".grib",
            ".h5",
            ".hdf",
            ".fit",
            ".fits",
            ".mpeg",
            ".mpg",
            ".eps",
            ".ps",
            ".wmf",
            ".emf",
        }
        assert opened - set(IMAGE_SUFFIXES) == others

    def test_a_file_that_is_passed_over_is_named(self, voc, coco):
        voc.add("a")
        for name in ("b.heic", "c.HEIC", "d.raw"):
            voc.image_path(name).touch()
        (voc.annotation_path("x").parent / "classes.json").touch()
        assert words(open_voc(voc)) == [
            "unused: Annotations/: files of .json are not read (classes.json)",
            "unused: JPEGImages/: files of .heic are not read (b.heic, c.HEIC)",
            "unused: JPEGImages/: files of .raw are not read (d.raw)",
        ]
        coco.write_image("a.jpg")
        coco.write_image("b.jpg")
        (coco.images / "c.heic").touch()
        assert words(listed(coco, "a.jpg")) == [
            "unused: images/: files of .heic are not read (c.heic)",
            "unused: images/: images that no annotation file lists are not used; unlabelled_images takes "
            "them (b.jpg)",
        ]


class TestSubfolders:
    def test_annotations_and_images_pair_by_their_path(self, voc):
        voc.add("a")
        for folder in ("JPEGImages/camera2", "Annotations/camera2"):
            (voc.root / folder).mkdir()
        voc.add("camera2/a", object_xml(box=(1, 2, 33, 44)))
        voc.write_image("camera2/b")
        dataset = open_voc(voc)
        assert boxes(dataset) == {"a": CAT, "camera2/a": [[1, 2, 33, 44]]}
        assert dataset.split("unlabelled").ids == ["camera2/b"]
        assert words(dataset) == []

    @pytest.mark.parametrize("nested", ["JPEGImages", "Annotations"])
    def test_one_of_both_is_nested(self, voc, nested):
        voc.add("a")
        folder = voc.root / nested
        (folder / "day1").mkdir()
        (file,) = [path for path in folder.iterdir() if path.is_file()]
        shutil.move(file, folder / "day1")
        dataset = open_voc(voc)
        assert list(boxes(dataset).values()) == [CAT]
        name = "a" if nested == "JPEGImages" else "day1/a"
        assert words(dataset) == [
            f"changed: images: images are found in another sub-folder than their annotations ({name})"
        ]

    def test_several_that_fit_are_named(self, voc):
        voc.annotate("a", object_xml())
        for day in ("day1", "day2"):
            voc.image_path("x").parent.joinpath(day).mkdir(parents=True)
            voc.write_image(f"{day}/a")
        expected = "Annotations/a.xml: no image a.*, and several in sub-folders: "
        assert expected + "JPEGImages/day1/a.jpg, JPEGImages/day2/a.jpg" in refusal(open_voc, voc)

    @pytest.mark.parametrize(
        "folders", [("annotations", "images"), ("Annotation", "Images"), ("xmls", "img")]
    )
    def test_other_names_of_the_folders(self, voc, folders):
        voc.add("a")
        (voc.root / "Annotations").rename(voc.root / folders[0])
        (voc.root / "JPEGImages").rename(voc.root / folders[1])
        (voc.root / "SegmentationClass").mkdir()
        assert boxes(open_voc(voc)) == {"a": CAT}
        assert words(open_voc(voc)) == ["unused: ./: folders are not read (SegmentationClass)"]

    def test_folders_of_splits_in_one_tree(self, tmp_path):
        voc = VocMaker(tmp_path / "folder", is_flat=True)
        for name in ("train/a", "train/b", "valid/c", "test/d"):
            (voc.root / name).parent.mkdir(parents=True, exist_ok=True)
            voc.add(name)
        dataset = open_voc(voc)
        assert {split: dataset.split(split).ids for split in dataset.split_names} == {
            "train": ["train/a", "train/b"],
            "validation": ["valid/c"],
            "test": ["test/d"],
        }

    def test_unlabelled_images_of_coco(self, coco):
        coco.write_image("a.jpg")
        coco.write_image("../bare/x/b.jpg")
        coco.list_image(1, "a.jpg")
        coco.annotate(1)
        dataset = open_coco(coco, unlabelled_images=coco.root / "bare")
        assert dataset.split("unlabelled").ids == ["x/b.jpg"]

    def test_a_name_without_its_folder(self, coco):
        coco.write_image("day1/a.jpg")
        dataset = listed(coco, "a.jpg")
        assert boxes(dataset) == {"day1/a.jpg": CAT}
        assert words(dataset) == ["changed: images/: names are found in sub-folders (a.jpg)"]


READINGS = {
    "backslash": ("day1\\a b.jpg", "names with \\ are read with /"),
    "backslash and dot": (".\\day1\\a b.jpg", "names with \\ are read with /"),
    "escaped": ("day1/a%20b.jpg", "names with % are read as their characters"),
    "escaped slash": ("day1%2Fa%20b.jpg", "names with % are read as their characters"),
    "own folder": ("images/day1/a b.jpg", "paths are read as paths within this folder"),
    "own folder of Windows": ("images\\day1\\a b.jpg", "paths are read as paths within this folder"),
    "another machine": ("/home/me/images/day1/a b.jpg", "paths are read as paths within this folder"),
    "another machine's drive": (
        "C:\\me\\images\\day1\\a b.jpg",
        "paths are read as paths within this folder",
    ),
    "address": ("http://host/images/day1/a%20b.jpg", "paths are read as paths within this folder"),
    "case": ("Day1/A b.JPG", "names of another case are used"),
}


class TestPaths:
    @pytest.mark.parametrize(("name", "how"), READINGS.values(), ids=READINGS)
    def test_what_a_path_means(self, coco, name, how):
        coco.write_image("day1/a b.jpg")
        dataset = listed(coco, name)
        assert boxes(dataset) == {"day1/a b.jpg": CAT}
        assert words(dataset) == [f"changed: images/: {how} ({name})"]

    def test_an_absolute_path_inside_of_the_folder(self, coco):
        path = coco.write_image("a.jpg")
        dataset = listed(coco, str(path))
        assert boxes(dataset) == {"a.jpg": CAT}

    @pytest.mark.parametrize("name", ["a%20b.jpg", "a\\b.jpg", "100%.jpg"])
    def test_the_name_as_it_is_comes_first(self, coco, name):
        coco.write_image(name)
        dataset = listed(coco, name)
        assert (boxes(dataset), words(dataset)) == ({name: CAT}, [])

    def test_nothing_outside_is_opened(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "secret.jpg").touch()
        folder = ImageFolder(tmp_path / "in", Notices())
        for name in (
            "../secret.jpg",
            "%2E%2E/secret.jpg",
            "in/../../secret.jpg",
            f"{tmp_path}/secret.jpg",
            "",
        ):
            with pytest.raises(BadExample):
                folder.find(name)

    @pytest.mark.parametrize(
        "name", ["\0", "x" * 5000, "a/" * 3000, "//", "C:", "..", ".", "%00", "%", "\ud800"]
    )
    def test_no_name_ends_in_another_error(self, tmp_path, name):
        with pytest.raises(BadExample):
            ImageFolder(tmp_path, Notices()).find(name)

    def test_parts(self):
        assert parts_of("..\\x\\..\\..\\a") == ("..", "..", "a")

    @pytest.mark.parametrize(
        "filename", ["JPEGImages\\IMG 7.png", "/data/JPEGImages/IMG 7.png", "IMG%207.png"]
    )
    def test_filename_of_voc(self, voc, filename):
        voc.write_image("IMG 7", suffix=".png")
        voc.annotate("a", object_xml(), extra=f"<filename>{filename}</filename>")
        assert boxes(open_voc(voc)) == {"a": CAT}
