"""The `tiny` family: plain 3x3 convolutions, for training on a CPU and running anywhere.

A strided stem, one block per stage at strides 4, 8, 16 and 32, a feature pyramid
over the last three and a light head. Depthwise convolutions would have fewer
multiply-adds and still train several times slower on a CPU.

Two thirds of a small student's time go to strides 2 and 4. `stem="patch"` goes there
in one step (Dosovitskiy et al., ViT, ICLR 2021: patches; Liu et al., ConvNeXt, CVPR
2022: as a stem): one 4x4 convolution with stride 4 in place of the stem and the first
stage. By itself it costs accuracy on the smallest objects, which a wider stage at
stride 8 made up for where it was measured (`docs/results.md`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from mkd_tf.checks import check_one_of, fail
from mkd_tf.detection.layers import conv_bn, plain_block, residual_block
from mkd_tf.detectors.assembly import GridDetector

BLOCKS = {"residual": residual_block, "plain": plain_block, "single": conv_bn}
STEMS = ("conv", "patch")
_COMMON = {"tower": 1, "block": "residual", "stem": "conv"}
SIZES: dict[str, dict[str, Any]] = {
    "teacher": {"widths": (32, 64, 128, 192), "pyramid": 64, **_COMMON},
    "guide": {"widths": (16, 32, 64, 96), "pyramid": 32, **_COMMON},
    "student": {"widths": (8, 16, 24, 32), "pyramid": 16, **_COMMON},
    # Sixteen channels at least, which processors compute at once; small objects need the width at stride 8.
    "fast": {"widths": (16, 32, 32, 32), "pyramid": 16, **_COMMON, "block": "single", "stem": "patch"},
}


@keras.saving.register_keras_serializable("mkd_tf")
class Tiny(GridDetector):
    """A small single-stage detector.

    Args:
      image_size: side of the input in pixels, a multiple of 32.
      size: `teacher`, `guide`, `student` or `fast`: the defaults of the arguments that
        follow. `fast` is a student that takes three fifths of the time of `student` as an
        int8 file.
      widths: channels of the stages at strides 4, 8, 16, 32.
      pyramid: channels of the pyramid and the head.
      tower: convolutions per level before the predictions.
      block: `residual`, `plain` (two convolutions) or `single` (one).
      stem: `conv`, or `patch`, which is the stage at stride 4 as well.
      **head: `anchor_scale`, `prior` and `bins` of `GridDetector`.

    Example:
      >>> import mkd_tf
      >>> student = mkd_tf.Tiny(image_size=64, class_names=("cat", "dog"))
      >>> student.image_size, len(student.anchors)  # 8x8, 4x4 and 2x2 cells
      (64, 84)
    """

    def __init__(
        self,
        image_size: int,
        class_names: Sequence[str],
        size: str = "student",
        widths: Sequence[int] | None = None,
        pyramid: int | None = None,
        tower: int | None = None,
        block: str | None = None,
        stem: str | None = None,
        name: str = "tiny",
        **head: Any,
    ):
        check_one_of("tiny size", size, tuple(SIZES))
        given = {"widths": widths, "pyramid": pyramid, "tower": tower, "block": block, "stem": stem}
        form = {"size": size} | SIZES[size] | {k: v for k, v in given.items() if v is not None}
        check_one_of("tiny block", form["block"], tuple(BLOCKS))
        check_one_of("tiny stem", form["stem"], STEMS)
        if len(form["widths"]) != 4:
            expected = "four widths, of the stages at strides 4, 8, 16, 32"
            do = "Give four numbers, as in widths=(8,16,24,32)."
            fail("tiny widths", expected=expected, got=str(tuple(form["widths"])), do=do)
        form["widths"] = list(form["widths"])
        width, head["tower"] = form.pop("pyramid"), form.pop("tower")
        backbone = functools.partial(_stages, BLOCKS[form["block"]], form["stem"], form["widths"])
        super().__init__(backbone, image_size, class_names, form, width, name=name, **head)


def _stages(
    block: Callable[..., Any], stem: str, widths: Sequence[int], images: keras.KerasTensor
) -> list[keras.KerasTensor]:
    """Returns the maps at strides 8, 16, 32."""
    if stem == "patch":
        x = conv_bn(images, widths[0], "stem", kernel=4, stride=4)
    else:
        x = conv_bn(images, widths[0], "stem", stride=2)
        x = block(x, widths[0], "stage2", stride=2)
    taps = []
    for i, width in enumerate(widths[1:], start=3):
        x = block(x, width, f"stage{i}", stride=2)
        taps.append(x)
    return taps
