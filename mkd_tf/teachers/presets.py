"""Contracts of known families, as their own documentation or code states them.

A preset says how a file of a family behaves that its own exporter wrote; whatever a
particular file does in another way is written in the spec, over it. Names of outputs are
those of the exporters. Classes are never assumed: they come from the file, or from `classes=`.

    yolov8             Ultralytics YOLOv8, 9, 11 and 12: letterboxed with grey 114; one output
                       `[4 + C, N]` after the sigmoid, in pixels (ONNX) or fractions (TFLite)
    yolo26             Ultralytics YOLO26 and YOLOv10, end-to-end head: `[D, 6]` with corners,
                       score and class; nothing to suppress
    yolov5             Ultralytics YOLOv5: `[N, 5 + C]` with objectness
    rf_detr            Roboflow RF-DETR: `dets` (centres, fractions) and `labels` (logits for a
                       sigmoid); ImageNet's normalisation, stretched. Trained on COCO it has the
                       91 ids; on other classes a slot of the background, of which the file
                       does not say whether it is the first or the last
    rt_detr, d_fine    lyuwenyu/RT-DETR and Peterande/D-FINE, `export_onnx.py`: a second input
                       takes (width, height) of the original, and boxes are pixels of it;
                       COCO's classes are 0 to 79
    ssd                TensorFlow Object Detection API, `TFLite_Detection_PostProcess`: yxyx as
                       fractions; class 0 is COCO's id 1
    efficientdet_lite  google/automl and Model Maker: as `ssd`, pixels are (p - 127) / 128
    tf_detection_api   TensorFlow Object Detection API, SavedModel: images of any size, uint8;
                       class 1 is COCO's id 1
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.teachers.contract import Contract

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_YOLO = Contract(
    form="yolo",
    resize="letterbox_center",
    padding=114,
    divide=255.0,
    box_format="cxcywh",
    box_unit="pixels",
    suppress=True,
    iou_threshold=0.7,
)
_YOLO26 = dataclasses.replace(_YOLO, form="rows", box_format="xyxy", suppress=False)
_YOLOV5 = dataclasses.replace(_YOLO, form="yolov5")
_RF_DETR = Contract(
    form="candidates",
    divide=255.0,
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    boxes="dets",
    scores="labels",
    box_format="cxcywh",
    activation="sigmoid",
    sparse=True,
)
_RT_DETR = Contract(
    form="detections",
    image="images",
    original_size="orig_target_sizes",
    divide=255.0,
    boxes="boxes",
    scores="scores",
    labels="labels",
    box_format="xyxy",
    box_unit="original",
)
_OP = "TFLite_Detection_PostProcess"
_SSD = Contract(
    form="detections",
    mean=(127.5,),
    std=(127.5,),
    boxes=_OP,
    labels=f"{_OP}:1",
    scores=f"{_OP}:2",
    count=f"{_OP}:3",
    sparse=True,
)
_EFFICIENTDET_LITE = dataclasses.replace(_SSD, mean=(127.0,), std=(128.0,))
_TF_DETECTION_API = Contract(
    form="detections",
    resize="none",
    boxes="detection_boxes",
    scores="detection_scores",
    labels="detection_classes",
    count="num_detections",
    first_class=1,
    sparse=True,
)

KINDS = ("onnx", "tflite", "saved_model")


def _fractions(contract: Contract) -> dict[str, Contract]:
    """Returns a contract of Ultralytics by kind: their TFLite and SavedModel files divide by the input."""
    fractions = dataclasses.replace(contract, box_unit="fraction")
    return {"onnx": contract, "tflite": fractions, "saved_model": fractions}


def _everywhere(contract: Contract) -> dict[str, Contract]:
    return dict.fromkeys(KINDS, contract)


PRESETS: dict[str, dict[str, Contract]] = {
    "yolov8": _fractions(_YOLO),
    "yolo26": _fractions(_YOLO26),
    "yolov5": _fractions(_YOLOV5),
    "rf_detr": _everywhere(_RF_DETR),
    "rt_detr": _everywhere(_RT_DETR),
    "d_fine": _everywhere(_RT_DETR),
    "ssd": {"tflite": _SSD},
    "efficientdet_lite": {"tflite": _EFFICIENTDET_LITE},
    "tf_detection_api": {"saved_model": _TF_DETECTION_API},
}
"""The contract of each preset, by the kind of file."""


def preset(where: str, name: str, kind: str, found: str, settings: Mapping[str, Any]) -> Contract:
    """Returns the contract of a preset for a kind of file.

    Args:
      where: for errors.
      name: of the preset; empty for none, when every setting is the user's.
      kind: one of `KINDS`.
      found: the outputs of the file, for errors.
      settings: that the spec writes over the contract.
    """
    fits = [n for n, kinds in PRESETS.items() if kind in kinds]
    if not name and settings:
        return Contract()
    if name not in fits:
        expected = f"outputs= one of {', '.join(fits)}"
        got = f"{name!r}; the file has {found}"
        do = "Name the family; or leave it empty and write form=, boxes=, scores=, box_format= and so on."
        fail(where, expected=expected, got=got, do=do)
    return PRESETS[name][kind]
