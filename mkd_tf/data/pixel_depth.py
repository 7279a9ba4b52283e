"""Pixels of any mode and depth as RGB of 8 bits."""

import os
from collections.abc import Iterator

import numpy as np
from PIL import Image

from mkd_tf.checks import fail

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras use of images with 16 bits a pixel."""
_ROWS = 256  # of an image that are converted at a time


def depth_of(pixels: np.ndarray, are_upper: bool = False) -> int:
    """Returns how many bits integer pixels use, one of `DEPTHS`; `are_upper`: they are the upper 8 of 16."""
    bits = int(pixels.max(initial=0)).bit_length() + (8 if are_upper else 0)
    return next((depth for depth in DEPTHS if bits <= depth), DEPTHS[-1])


def is_deep_image(image: Image.Image) -> bool:
    """Returns whether an image, not loaded yet, has colours of 16 bits: Pillow reads the upper 8 of them."""
    return not image.mode.startswith("I") and any(
        ";16" in str(tile[-1]) for tile in getattr(image, "tile", ())
    )


def rgb_strips(
    image: Image.Image, path: str | os.PathLike[str], depth: int | None = None, is_deep: bool = False
) -> Iterator[tuple[int, Image.Image]]:
    """Yields an image as RGB, some rows after the other, each with its first row.

    As a whole, 16 bits or transparency would take up to 24 bytes a pixel.
    """
    if image.mode == "F":
        do = "Save it with 8 or 16 bits a channel."
        fail(f"image {os.fspath(path)}", expected="integer pixels", got="float pixels", do=do)
    is_wide = image.mode.startswith("I")
    most, factor = 255, 1.0
    if is_wide:
        most = 2 ** (depth or depth_of(np.asarray(image))) - 1
    elif is_deep:
        used = depth or depth_of(np.asarray(image.convert("RGB")), are_upper=True)
        factor = 255 / (2 ** max(used - 8, 1) - 1)
    width, height = image.size
    for top in range(0, height, _ROWS):
        strip = image.crop((0, top, width, min(top + _ROWS, height)))
        if is_wide:
            strip = _narrow(strip, most)
        elif factor != 1:
            strip = _brighter(strip, factor)
        if strip.has_transparency_data:
            strip = _on_white(strip)
        yield top, strip.convert("RGB")


def _narrow(image: Image.Image, most: int) -> Image.Image:
    """Makes 8 bits of 16, which Pillow's own conversion would clip."""
    pixels = np.asarray(image).astype("float64") * (255 / most)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype("uint8"))


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _brighter(image: Image.Image, factor: float) -> Image.Image:
    """Scales the colours, and not the transparency."""
    bands = zip(image.getbands(), image.split(), strict=True)
    scaled = [b if name == "A" else b.point(lambda v: min(255, v * factor)) for name, b in bands]
    return Image.merge(image.mode, scaled)
