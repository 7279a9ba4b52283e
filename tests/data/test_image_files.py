"""Reading, scanning and fitting of image files."""

import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.data.image_files import fit_boxes, fit_image, read_image, scan_image
from mkd_tf.data.sources.near_duplicates import MAX_BITS, group_alike, nearest_copies
from tests.data.sources.voc_maker import noise_image


@pytest.fixture
def corners():
    """`[2, 3, 3]`: red, green, blue above white, black, grey."""
    top = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    return np.array([top, [[255] * 3, [0] * 3, [128] * 3]], "uint8")


def save(tmp_path, image, file="a.png", **options):
    image.save(tmp_path / file, **options)
    return tmp_path / file


def test_reads_what_was_written(tmp_path, corners):
    image = read_image(save(tmp_path, Image.fromarray(corners)))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, corners)


@pytest.mark.parametrize("real_format", ["PNG", "BMP", "WEBP", "GIF", "TIFF"])
def test_content_decides_the_format_not_the_suffix(tmp_path, real_format):
    flat = Image.new("RGB", (4, 4), (255, 0, 0))
    image = read_image(save(tmp_path, flat, "a.jpg", format=real_format))
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 3  # WEBP is lossy


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, corners, orientation):
    """As stored rows and columns map to displayed ones in the EXIF standard."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(corners), exif=exif)
    shown = {
        1: corners,
        2: corners[:, ::-1],
        3: corners[::-1, ::-1],
        4: corners[::-1],
        5: corners.transpose(1, 0, 2),
        6: np.rot90(corners, -1),
        7: corners[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(corners),
    }[orientation]
    np.testing.assert_array_equal(read_image(path), shown)
    scan = scan_image(path)
    assert (scan.height, scan.width) == shown.shape[:2]
    assert scan.is_turned == (orientation >= 5)


def test_scan_of_a_turned_jpeg_tells_the_displayed_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, noise_image(0, 640, 481), "a.jpg", exif=exif)
    scan = scan_image(path)
    assert (scan.width, scan.height) == (481, 640)
    assert read_image(path).shape == (640, 481, 3)


def test_grey_is_repeated(tmp_path):
    grey = np.arange(6, dtype="uint8").reshape(2, 3) * 40
    image = read_image(save(tmp_path, Image.fromarray(grey)))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, -1))


def test_16_bits_become_8_by_scale_and_not_by_clipping(tmp_path):
    wide = np.array([[0, 257 * 100, 65535]], "uint16")
    image = read_image(save(tmp_path, Image.fromarray(wide)))
    np.testing.assert_array_equal(image[0, :, 0], [0, 100, 255])


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    read = read_image(save(tmp_path, image))
    np.testing.assert_array_equal(read[0], [[200, 0, 0], [255, 255, 255], [127, 127, 127]])


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    read = read_image(save(tmp_path, image, transparency=1))
    np.testing.assert_array_equal(read[0], [[10, 20, 30], [255, 255, 255]])


def test_cmyk_becomes_rgb(tmp_path):
    path = save(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg")
    assert np.abs(read_image(path)[4, 4].astype(int) - [255, 0, 0]).max() < 12


def test_broken_exif_does_not_spoil_the_image(tmp_path, corners):
    path = save(tmp_path, Image.fromarray(corners), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(path), corners)


@pytest.mark.parametrize("read", [read_image, scan_image])
class TestBadFiles:
    def message(self, read, path):
        with pytest.raises(MkdError) as error:
            read(path)
        assert str(path) in str(error.value)
        return str(error.value)

    def test_missing(self, read, tmp_path):
        message = self.message(read, tmp_path / "none.jpg")
        assert "expected a file, got none. Correct the path" in message

    def test_folder(self, read, tmp_path):
        assert "Make the file readable" in self.message(read, tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no image at all"])
    def test_not_an_image(self, read, tmp_path, content):
        path = tmp_path / "a.jpg"
        path.write_bytes(content)
        message = self.message(read, path)
        assert f"expected an image, got {len(content)} bytes in no format" in message
        assert "Replace or remove" in message

    @pytest.mark.parametrize(
        ("file", "options"), [("a.jpg", {}), ("a.jpg", {"progressive": True}), ("a.png", {})]
    )
    def test_truncated(self, read, tmp_path, file, options):
        path = save(tmp_path, noise_image(0, 320, 240), file, **options)
        path.write_bytes(path.read_bytes()[:-2000])
        message = self.message(read, path)
        assert "expected a complete image, got a truncated or damaged one" in message

    def test_decompression_bomb(self, read, tmp_path, corners, monkeypatch):
        path = save(tmp_path, Image.fromarray(corners))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)  # Pillow itself refuses from 10 on
        assert "expected at most 5 pixels, got a larger image" in self.message(read, path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
        assert "expected at most 2 pixels" in self.message(read, path)

    def test_float_pixels(self, read, tmp_path):
        path = save(tmp_path, Image.new("F", (2, 2)), "a.tiff")
        assert "got float pixels. Save it with 8 or 16 bits" in self.message(read, path)


def test_stretch_fills_the_square():
    image = np.zeros((2, 4, 3), "uint8")
    image[:, 2:] = 200
    fitted = fit_image(image, 8)
    assert fitted.shape == (8, 8, 3)
    assert fitted.dtype == np.uint8
    assert fitted[:, 0].max() == 0
    assert fitted[:, -1].min() == 200


def test_letterbox_is_top_left_with_zeros():
    fitted = fit_image(np.full((50, 100, 3), 255, "uint8"), 40, "letterbox")
    assert fitted[:20].min() == 255
    assert fitted[20:].max() == 0
    tall = fit_image(np.full((100, 50, 3), 255, "uint8"), 40, "letterbox")
    assert tall[:, :20].min() == 255
    assert tall[:, 20:].max() == 0
    assert fit_image(np.ones((1000, 1, 3), "uint8"), 8, "letterbox")[:, 0].min() == 1


def test_boxes_go_along_with_the_image():
    box = np.array([[0.5, 0.5, 1.0, 1.0]], "float32")
    np.testing.assert_allclose(fit_boxes(box, (50, 100), "letterbox"), [[0.25, 0.5, 0.5, 1.0]])
    np.testing.assert_allclose(fit_boxes(box, (50, 100), "stretch"), box)


def test_shrinking_is_antialiased():
    """Stripes of one pixel become grey; without antialiasing they would stay black or white."""
    stripes = np.zeros((64, 64, 3), "uint8")
    stripes[:, ::2] = 255
    assert abs(int(fit_image(stripes, 8)[4, 4, 0]) - 127) < 10


def test_fit_names_what_is_wrong():
    image = np.zeros((4, 4, 3), "uint8")
    with pytest.raises(MkdError, match="fit: expected one of stretch, letterbox, got 'crop'"):
        fit_image(image, 8, "crop")
    with pytest.raises(MkdError, match="size: expected a number above 0, got 0"):
        fit_image(image, 0)
    with pytest.raises(MkdError, match=r"expected uint8 \[H, W, 3\], got float64 \[4, 4, 3\]"):
        fit_image(image / 1.0, 8)


def test_copies_have_close_hashes_and_other_images_far_ones(tmp_path):
    original = noise_image(1, 320, 240)
    copies = [
        save(tmp_path, original, "a.png"),
        save(tmp_path, original, "b.jpg", quality=30),
        save(tmp_path, original.resize((100, 75)), "c.png"),
        save(tmp_path, original.crop((2, 2, 318, 238)), "d.jpg"),
        save(tmp_path, original.point(lambda v: v * 0.8), "e.png"),
        save(tmp_path, noise_image(2, 320, 240), "f.png"),
    ]
    hashes = np.stack([scan_image(path).hash for path in copies])
    distances = (hashes[0] ^ hashes).sum(1)
    assert distances[:5].max() <= MAX_BITS
    assert distances[5] > 2 * MAX_BITS


def test_groups_are_the_connected_parts(monkeypatch):
    hashes = np.random.default_rng(0).random((60, 16)) < 0.5
    alike = (hashes[:, None] != hashes[None]).sum(-1) <= 3
    reachable = np.linalg.matrix_power(alike.astype(float), 60) > 0
    expected = sorted({tuple(np.flatnonzero(row)) for row in reachable})
    assert max(map(len, expected)) > 2
    assert np.any(reachable & ~alike)
    for rows, columns in ((7, 1024), (1024, 9), (9, 7), (7, 60), (1024, 8192)):
        monkeypatch.setattr("mkd_tf.data.sources.near_duplicates._ROWS", rows)
        monkeypatch.setattr("mkd_tf.data.sources.near_duplicates._COLUMNS", columns)
        assert [tuple(group) for group in group_alike(hashes, max_bits=3)] == expected


def test_nearest_copies_equal_the_definition(monkeypatch):
    monkeypatch.setattr("mkd_tf.data.sources.near_duplicates._ROWS", 7)
    rng = np.random.default_rng(1)
    hashes, others = rng.random((30, 16)) < 0.5, rng.random((20, 16)) < 0.5
    distances = (hashes[:, None] != others[None]).sum(-1)
    expected = [(i, int(row.argmin())) for i, row in enumerate(distances) if row.min() <= 3]
    assert expected
    for columns in (3, 8192):
        monkeypatch.setattr("mkd_tf.data.sources.near_duplicates._COLUMNS", columns)
        assert nearest_copies(hashes, others, max_bits=3) == expected
    assert nearest_copies(hashes, others[:0]) == []
    assert nearest_copies(hashes[:0], others) == []


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "I;16", "I"])
def test_strips_are_converted_as_the_whole_would_be(tmp_path, monkeypatch, kind):
    """Strips take a fraction of the memory; nothing else may change."""
    values = np.random.default_rng(0).integers(0, 256, (17, 9, 4), "uint8")
    image = Image.fromarray(values)
    if kind in ("I;16", "I"):
        image = Image.fromarray(values[..., 0].astype("uint16" if kind == "I;16" else "int32") * 13)
    elif kind != "RGBA":
        image = image.convert(kind if kind != "P" else "RGB").convert(kind)
    file = "a.tif" if kind == "I" else "a.png"
    path = save(tmp_path, image, file, **({"transparency": 3} if kind == "P" else {}))
    whole = read_image(path)
    for rows in (1, 5, 17):
        monkeypatch.setattr("mkd_tf.data.pixel_depth._ROWS", rows)
        np.testing.assert_array_equal(read_image(path), whole)
