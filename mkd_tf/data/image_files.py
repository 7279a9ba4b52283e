"""Reads image files of any format and mode that Pillow knows as upright 8-bit RGB arrays."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from PIL import Image, UnidentifiedImageError

from mkd_tf.checks import MkdError, check_one_of, check_positive, fail
from mkd_tf.data.pixel_depth import depth_of, is_deep_image, rgb_strips
from mkd_tf.file_limits import FileLimits, limits

_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .dib .webp .tif .tiff .gif .ppm .pgm .pbm .pnm .pfm .avif "
    ".avifs .jp2 .j2k .j2c .jpc .jpf .jpx .tga .icb .vda .vst .qoi .psd .dds .ico .cur .icns .pcx .dcx "
    ".sgi .rgb .rgba .bw .ras .blp .fli .flc .ftc .ftu .gbr .iim .im .msp .pcd .pxr .xbm .xpm"
)
IMAGE_SUFFIXES = tuple(_SUFFIXES.split())
"""Suffixes of the images that Pillow decodes without another program, the common ones first."""
_HASH_SIDE = 8
HASH_BITS = 2 * _HASH_SIDE**2
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # these exchange width and height
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Scan(NamedTuple):
    """Size and difference hash of an image.

    Attributes:
      width, height: pixels, EXIF orientation applied.
      is_turned: whether EXIF orientation exchanged width and height.
      hash: `[128]` bool difference hash: whether each of 8x8 grey cells is darker than
        its right neighbour, and than its lower one. Copies that are scaled, recompressed
        or brightened differ in few bits. None where the image was not decoded.
      orientation: of EXIF, 1 to 8.
      depth: bits that the pixels use, one of `DEPTHS`; 8 where the image was not decoded.
      is_wide: whether the file has 16 bits a pixel.
    """

    width: int
    height: int
    is_turned: bool
    hash: np.ndarray | None
    orientation: int = 1
    depth: int = 8
    is_wide: bool = False


def read_image(
    path: str | os.PathLike[str], content: bytes | None = None, depth: int | None = None
) -> np.ndarray:
    """Reads an image as it is displayed.

    The content decides the format, not the suffix; EXIF orientation is applied;
    transparency is laid on white; grey is repeated; 16 bits become 8, scaled by the bits
    that are used: cameras store 10 to 14 bits in 16; of an animation the first frame is taken.

    Args:
      path: the file.
      content: its bytes, if it is not a file of its own; then `path` is its name in errors.
      depth: the bits that all images of its data set use, one of `DEPTHS`; None for those that
        the image itself uses.

    Returns:
      `[H, W, 3]` uint8 RGB.

    Raises:
      MkdError: for a file that is missing, not an image, damaged, truncated or larger
        than Pillow's limit against decompression bombs (`PIL.Image.MAX_IMAGE_PIXELS`) or `--limits`.
    """
    with _opened(path, content) as image:
        is_deep = is_deep_image(image)
        image.load()
        image = _upright(image)
        if image.mode == "RGB" and not is_deep and not image.has_transparency_data:
            return np.array(image)  # what the strips would be, without their copies
        pixels = np.empty((image.height, image.width, 3), "uint8")
        for top, strip in rgb_strips(image, path, depth, is_deep):
            pixels[top : top + strip.height] = np.asarray(strip)
        return pixels


def measure_image(path: str | os.PathLike[str], content: bytes | None = None) -> Scan:
    """Returns the size of an image from its header alone; the hash is None.

    Raises:
      MkdError: as `read_image`, for faults that the header shows.
    """
    with _opened(path, content) as image:
        is_wide = image.mode.startswith("I") or is_deep_image(image)
        orientation = _orientation(image)
        is_turned = orientation in _SIDEWAYS
        width, height = image.size[::-1] if is_turned else image.size
    return Scan(width, height, is_turned, None, orientation, is_wide=is_wide)


def scan_image(path: str | os.PathLike[str]) -> Scan:
    """Returns the size and the hash of an image, which is decoded to find out whether it is sound.

    JPEG is decoded at an eighth of its size, which still reads the whole file.

    Raises:
      MkdError: as `read_image`.
    """
    with _opened(path) as image:
        full_size, is_deep = image.size, is_deep_image(image)
        image.draft("L", (4 * _HASH_SIDE, 4 * _HASH_SIDE))
        image.load()
        is_jpeg = image.format in ("JPEG", "MPO")  # then the draft is smaller than the image
        width, height = full_size if is_jpeg else image.size
        orientation = _orientation(image)
        is_turned = orientation in _SIDEWAYS
        is_wide = image.mode.startswith("I") or is_deep
        depth = depth_of(np.asarray(image.convert("RGB") if is_deep else image), is_deep) if is_wide else 8
        image = _upright(image)
        grey = Image.new("L", image.size)
        for top, strip in rgb_strips(image, path, depth if is_wide else None, is_deep):
            grey.paste(strip.convert("L"), (0, top))
    cells = np.asarray(grey.resize((_HASH_SIDE + 1, _HASH_SIDE + 1), Image.Resampling.BOX), "int16")
    is_darker = cells[:-1, :-1] < np.stack([cells[:-1, 1:], cells[1:, :-1]])
    if is_turned:
        width, height = height, width
    return Scan(width, height, is_turned, is_darker.ravel(), orientation, depth, is_wide)


def upright_box(
    box: tuple[float, float, float, float], width: int, height: int, orientation: int
) -> tuple[float, float, float, float]:
    """Returns a box of the stored image as a box of the displayed one.

    Args:
      box: xmin, ymin, xmax, ymax in pixels of the stored image.
      width, height: of the displayed image.
      orientation: of EXIF, 1 to 8.
    """
    x0, y0, x1, y1 = box
    if orientation in _SIDEWAYS:
        x0, y0, x1, y1 = y0, x0, y1, x1  # the transpose; the rest is mirrored
    if orientation in (2, 3, 6, 7):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 7, 8):
        y0, y1 = height - y1, height - y0
    return x0, y0, x1, y1


def fit_image(image: np.ndarray, size: int, fit: str = "stretch") -> np.ndarray:
    """Scales an image to a square, bilinear, antialiased where it shrinks.

    Args:
      image: `[H, W, 3]` uint8.
      size: side of the result in pixels.
      fit: `stretch` fills the square; `letterbox` keeps the proportions, puts the
        image in the top left corner and leaves the rest zero, as Coral's examples do.

    Returns:
      `[size, size, 3]` uint8.

    Raises:
      MkdError: for another `fit`, a size below 1 or an array of another kind.
    """
    check_one_of("fit", fit, ("stretch", "letterbox"))
    check_positive("size", size)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        got = f"{image.dtype} {list(image.shape)}"
        fail("fit_image: image", expected="uint8 [H, W, 3]", got=got, do="Read it with read_image.")
    height, width = image.shape[:2]
    target = (size, size)
    if fit == "letterbox":
        scale = size / max(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BILINEAR))
    result = np.zeros((size, size, 3), np.uint8)
    result[: target[1], : target[0]] = scaled
    return result


def fit_boxes(bbox: np.ndarray, height_width: tuple[int, int], fit: str = "stretch") -> np.ndarray:
    """Returns the boxes of an image that `fit_image` scales.

    Args:
      bbox: `[M, 4]` yxyx, 0..1 of the image.
      height_width: of the image in pixels.
      fit: as in `fit_image`.

    Returns:
      `[M, 4]` yxyx, 0..1 of the square.
    """
    if fit == "stretch":
        return bbox
    height, width = height_width
    return bbox * (np.array([height, width, height, width], "float32") / max(height, width))


def _most_pixels() -> int | None:
    """Returns Pillow's limit, which `--limits` replace."""
    if limits().megapixels != FileLimits.megapixels:
        Image.MAX_IMAGE_PIXELS = limits().pixels
    return Image.MAX_IMAGE_PIXELS


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], content: bytes | None = None) -> Iterator[Image.Image]:
    """Opens an image; any exception until it is closed becomes the `MkdError` of `_explain`."""
    most = _most_pixels()
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            # Pillow itself only warns up to twice this limit.
            if most and image.width * image.height > most:
                raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
            yield image
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and more
        _explain(path, error, content)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation of an image, 1 if it has none or broken metadata."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # the pixels are sound all the same
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation. `ImageOps.exif_transpose` would fail where it cannot rewrite EXIF."""
    orientation = _orientation(image)
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def _explain(path: str | os.PathLike[str], error: Exception, content: bytes | None = None) -> NoReturn:
    """Raises the `MkdError` for an exception of Pillow or the file system."""
    if isinstance(error, MkdError):
        raise error
    if isinstance(error, FileNotFoundError):
        expected, got, do = "a file", "none", "Correct the path or restore the file."
    elif isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        expected = f"at most {Image.MAX_IMAGE_PIXELS} pixels"
        got = f"a larger image ({error})"
        do = "Scale it down or, if you trust it, raise the limit with --limits=megapixels=NUMBER."
    elif isinstance(error, UnidentifiedImageError):
        size = Path(path).stat().st_size if content is None else len(content)
        expected, got = "an image", f"{size} bytes in no format that Pillow knows"
        do = "Replace or remove the file."
    elif isinstance(error, OSError) and error.errno is not None:  # permissions, a folder, a disk
        expected, got, do = "a readable file", error.strerror or str(error), "Make the file readable."
    else:
        expected, got = "a complete image", f"a truncated or damaged one ({error})"
        do = "Replace or remove the file."
    fail(f"image {os.fspath(path)}", expected=expected, got=got, do=do)
