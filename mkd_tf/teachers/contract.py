"""What a network of another family takes and gives: the contract that its file does not state.

Every field may be written in a spec, over what a preset says:

    onnx(path='x.onnx', outputs='rf_detr', background='first', classes='cat, dog')

Outputs are named, never counted: `boxes='dets'`. A name may be empty where the file has a
single output.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mkd_tf.checks import check_fraction, check_one_of, check_positive, fail

FORMS = ("candidates", "detections", "rows", "yolo", "yolov5")
"""How predictions lie in the outputs.

    candidates   `boxes` `[N, 4]` and `scores` `[N, C]`
    detections   `boxes` `[D, 4]`, `scores` `[D]`, `labels` `[D]` and perhaps `count`
    rows         `rows` `[D, 6]`: box, score, class
    yolo         `rows` `[4 + C, N]`: box, classes
    yolov5       `rows` `[N, 5 + C]`: box, objectness, classes
"""
ROLES = {
    "candidates": ("boxes", "scores"),
    "detections": ("boxes", "scores", "labels"),
    "rows": ("rows",),
    "yolo": ("rows",),
    "yolov5": ("rows",),
}
"""The outputs that each form has; `count` is optional."""


@dataclasses.dataclass(frozen=True)
class Contract:
    """What a network takes and gives.

    Attributes:
      form: one of `FORMS`.
      image: the input of the image; empty for the only input of rank 4.
      original_size: the input that takes (width, height) of the original image, empty for none.
      size: side of the input in pixels, for a file that takes any; 0 for what the file says.
      resize: `stretch`; `letterbox`, at the top left; `letterbox_center`; `none`, the original.
      padding: grey level around a letterboxed image.
      channels: `rgb` or `bgr`.
      divide: pixels in 0..255 are divided by it; then `mean` is subtracted, and `std` divides.
      boxes, scores, labels, count, rows: names of the outputs.
      box_format: `yxyx` and `xyxy` are corners, `cxcywh` the centre and the size, `xywh` the
        top left corner and the size.
      box_unit: `fraction` of the input, `pixels` of it, or `original` pixels.
      activation: from outputs to probabilities: `none`, `sigmoid` or `softmax`.
      background: whether one of the C scores, `first` or `last`, belongs to no class; `none`.
      first_class: number of the first class where classes are given as numbers.
      sparse: whether a network that was trained on COCO has its ids, with gaps, and not 0 to 79.
      suppress: whether boxes of one class that overlap by `iou_threshold` are suppressed.
      max_detections: kept of each image.
    """

    form: str = "candidates"
    image: str = ""
    original_size: str = ""
    size: int = 0
    resize: str = "stretch"
    padding: int = 0
    channels: str = "rgb"
    divide: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    boxes: str = ""
    scores: str = ""
    labels: str = ""
    count: str = ""
    rows: str = ""
    box_format: str = "yxyx"
    box_unit: str = "fraction"
    activation: str = "none"
    background: str = "none"
    first_class: int = 0
    sparse: bool = False
    suppress: bool = False
    iou_threshold: float = 0.6
    max_detections: int = 300

    def __post_init__(self) -> None:
        check_one_of("form", self.form, FORMS)
        check_one_of("resize", self.resize, ("stretch", "letterbox", "letterbox_center", "none"))
        check_one_of("channels", self.channels, ("rgb", "bgr"))
        check_one_of("box_format", self.box_format, ("yxyx", "xyxy", "cxcywh", "xywh"))
        check_one_of("box_unit", self.box_unit, ("fraction", "pixels", "original"))
        check_one_of("activation", self.activation, ("none", "sigmoid", "softmax"))
        check_one_of("background", self.background, ("none", "first", "last"))
        check_fraction("iou_threshold", self.iou_threshold)
        check_positive("divide", self.divide)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, 3):
                fail(
                    name, expected="one number or three", got=repr(values), do="Write (0.485, 0.456, 0.406)."
                )
        if not all(value > 0 for value in self.std):
            fail("std", expected="numbers above 0", got=repr(self.std), do="Correct std.")

    @property
    def roles(self) -> tuple[str, ...]:
        """The outputs that are read; `count` among them if it has a name."""
        return (*ROLES[self.form], *(("count",) if self.count else ()))


def changed(contract: Contract, where: str, settings: Mapping[str, Any]) -> Contract:
    """Returns a contract with the settings that a spec writes over it.

    Raises:
      MkdError: for a setting that no contract has.
    """
    known = {f.name: f.type for f in dataclasses.fields(Contract)}
    for name in settings:
        if name not in known:
            do = "Correct the name."
            fail(where, expected=f"settings among {', '.join(known)}", got=name, do=do)
    listed = ("mean", "std")
    values: dict[str, Any] = {
        k: tuple(v) if k in listed and isinstance(v, list | tuple) else (v,) if k in listed else v
        for k, v in settings.items()
    }
    return dataclasses.replace(contract, **values)
