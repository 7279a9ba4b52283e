"""From an original image to a network's input, and from its boxes back to the original."""

import dataclasses

import numpy as np
from PIL import Image

from mkd_tf.teachers.contract import Contract


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image lies in the input: pixel of the input = pixel of the image * scale + offset.

    Attributes:
      input_size: (height, width) of the input in pixels.
      size: (height, width) of the original.
      scale: (y, x).
      offset: (y, x) in pixels of the input.
    """

    input_size: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_original(self, boxes: np.ndarray, unit: str) -> np.ndarray:
        """Returns boxes `[D, 4]` yxyx, in a `Contract.box_unit`, as fractions of the original."""
        height_width = np.tile(np.array(self.size, "float64"), 2)
        if unit == "original":
            return boxes / height_width
        if unit == "fraction":
            boxes = boxes * np.tile(np.array(self.input_size, "float64"), 2)
        return (boxes - np.tile(self.offset, 2)) / np.tile(self.scale, 2) / height_width


def place(image: np.ndarray, input_size: tuple[int, int], contract: Contract) -> tuple[np.ndarray, Placement]:
    """Fits an image into the input.

    Args:
      image: `[H, W, 3]` uint8 RGB.
      input_size: (height, width) of the input.
      contract: its `resize` and `padding`.

    Returns:
      `[height, width, 3]` uint8, and where the image lies in it. Shrinking is bilinear with
      antialiasing; OpenCV, which some families use, has none.
    """
    size = image.shape[0], image.shape[1]
    if contract.resize == "none":
        return image, Placement(size, size, (1.0, 1.0), (0.0, 0.0))
    target, offset = input_size, (0, 0)
    if contract.resize != "stretch":
        ratio = min(input_size[0] / size[0], input_size[1] / size[1])
        target = max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
        if contract.resize == "letterbox_center":
            offset = _half(input_size[0] - target[0]), _half(input_size[1] - target[1])
    scaled = np.asarray(Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR))
    canvas = np.full((*input_size, 3), contract.padding, np.uint8)
    canvas[offset[0] : offset[0] + target[0], offset[1] : offset[1] + target[1]] = scaled
    scale = target[0] / size[0], target[1] / size[1]
    return canvas, Placement(input_size, size, scale, (float(offset[0]), float(offset[1])))


def _half(padding: int) -> int:
    """Returns the padding before an image; an odd pixel goes behind it, as in Ultralytics."""
    return round(padding / 2 - 0.1)


def normalise(canvas: np.ndarray, contract: Contract) -> np.ndarray:
    """Returns `[height, width, 3]` float32, in the order and scale that the contract states."""
    if contract.channels == "bgr":
        canvas = canvas[..., ::-1]
    pixels = canvas.astype("float32") / np.float32(contract.divide)
    return (pixels - np.array(contract.mean, "float32")) / np.array(contract.std, "float32")
