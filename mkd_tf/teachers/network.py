"""Networks in files of other families as teachers: a session, a contract, and classes.

    onnx(path='yolov8n.onnx', outputs='yolov8')
    tflite(path='ssd.tflite', outputs='ssd', classes='coco')
    saved_model(path='model', boxes='boxes', scores='probabilities', classes='cat, dog')

`outputs` names a preset; every field of `contract.Contract` may be written beside it.
A file that mkd_tf wrote says all of it itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.data.sources.coco_names import COCO_NAMES
from mkd_tf.detection.postprocess import Detections
from mkd_tf.teachers.base import OutputsTeacher, TeacherImage
from mkd_tf.teachers.class_names import COCO, given_names, is_name
from mkd_tf.teachers.contract import Contract
from mkd_tf.teachers.decoding import Classes, Decoder
from mkd_tf.teachers.placing import normalise, place
from mkd_tf.teachers.session import Session, Tensor, described

_SCORES = ("candidates", "yolo", "yolov5")


class Network(OutputsTeacher):
    """Runs a network image by image, as its contract states.

    Args:
      where: the file, in errors.
      name: of the teacher.
      session: the file.
      contract: what it takes and gives.
      classes: as in `class_names.given_names`; empty for those in the file.
      fingerprint: see `OutputsTeacher.fingerprint`.

    Raises:
      MkdError: if inputs, outputs or classes are not as the contract states.
    """

    def __init__(
        self, where: str, name: str, session: Session, contract: Contract, classes: Any, fingerprint: str
    ):
        self._where, self.name, self._session = where, name, session
        self._contract = with_normalisation(contract, session)
        self._fingerprint = fingerprint
        self._outputs = {role: self._output(role) for role in contract.roles}
        self._image, self._channels_first, self._size = self._input()
        found = class_slots(where, contract, given_names(where, classes) or session.names, classes == COCO)
        self.class_names = found.names
        self._decode = Decoder(where, self._contract, found)

    def fingerprint(self) -> str:
        return self._fingerprint

    def detect(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        return [self._detect(image) for image in images]

    def _detect(self, image: TeacherImage) -> Detections:
        pixels = image.pixels()
        canvas, placement = place(pixels, self._size or (0, 0), self._contract)
        feeds = {self._image: self._values(canvas)}
        if self._contract.original_size:
            height, width = pixels.shape[:2]
            size = self._session.inputs[self._contract.original_size]
            feeds[self._contract.original_size] = size.stored(np.array([[width, height]]))
        outputs = self._session.run(feeds)
        return self._decode({role: outputs[name] for role, name in self._outputs.items()}, placement)

    def _values(self, canvas: np.ndarray) -> np.ndarray:
        """Returns the content of the image's input, with a batch of 1."""
        tensor, contract = self._session.inputs[self._image], self._contract
        if tensor.dtype == np.uint8 and not tensor.scale:
            # Bytes without a scale are pixels: the network normalises them itself.
            contract = dataclasses.replace(contract, divide=1.0, mean=(0.0,), std=(1.0,))
        values = normalise(canvas, contract)
        values = values.transpose(2, 0, 1) if self._channels_first else values
        return tensor.stored(values[None])

    def _output(self, role: str) -> str:
        name, outputs = getattr(self._contract, role), self._session.outputs
        name = self._session.aliases.get(name, name)
        if name in outputs:
            return name
        if not name and len(outputs) == 1 and len(self._contract.roles) == 1:
            return next(iter(outputs))
        expected = f"an output called {name!r} for {role}" if name else f"the name of the output of {role}"
        wanted = ", ".join(f"{r}='...'" for r in self._contract.roles)
        do = f"Write which is which: {wanted}; form= says how they lie, see docs/teachers.md."
        fail(self._where, expected=expected, got=described(outputs), do=do)

    def _input(self) -> tuple[str, bool, tuple[int, int] | None]:
        """Returns the image's input, whether channels come first, and its (height, width)."""
        contract, inputs = self._contract, self._session.inputs
        others = {contract.original_size} - {""}
        images = [n for n, t in inputs.items() if len(t.shape) == 4 and n not in others]
        name = contract.image or (images[0] if len(images) == 1 else "")
        missing = sorted(({name} | others) - set(inputs)) if name else ["an image"]
        strange = sorted(set(inputs) - {name} - others)
        if missing or strange:
            expected = f"inputs {', '.join(sorted({name or 'image'} | others))}"
            do = "Write image='...' (and original_size='...' for one that takes width and height)."
            fail(self._where, expected=expected, got=described(inputs), do=do)
        tensor = inputs[name]
        channels_first, sides = self._layout(tensor)
        if contract.resize == "none":
            return name, channels_first, None
        size = contract.size or self._session.size
        stated = [s if s is not None else size for s in sides]
        if not all(stated):
            do = "Write size=640, or whatever the network was trained with."
            fail(self._where, expected="the size of the input", got=str(tensor), do=do)
        if contract.size and stated != [contract.size] * 2:
            do = "Leave size= out, or export the network for that size."
            fail(f"{self._where}, size", expected=f"{stated}", got=str(contract.size), do=do)
        return name, channels_first, (stated[0], stated[1])

    def _layout(self, tensor: Tensor) -> tuple[bool, tuple[int | None, int | None]]:
        shape = tensor.shape
        if len(shape) == 4 and shape[0] in (None, 1):
            first, last = shape[1] == 3, shape[3] == 3
            if first != last:
                return first, (shape[2], shape[3]) if first else (shape[1], shape[2])
        do = "Export it for one image of 3 channels."
        expected = "an input [1, 3, height, width] or [1, height, width, 3]"
        fail(self._where, expected=expected, got=str(tensor), do=do)


def with_normalisation(contract: Contract, session: Session) -> Contract:
    """Returns the contract with the normalisation that the file states, if it states one."""
    if session.normalisation is None:
        return contract
    mean, std = session.normalisation
    return dataclasses.replace(contract, divide=1.0, mean=mean, std=std)


def class_slots(where: str, contract: Contract, given: Any, is_coco: bool) -> Classes:
    """Returns the classes and where their scores or numbers lie.

    Args:
      where: for errors.
      contract: of the network.
      given: names in order, or by number; None where nobody says them.
      is_coco: whether `given` are COCO's 80 classes by their ids.

    Raises:
      MkdError: without names.
    """
    if not given:
        do = "Write classes='name, name, ...' in the order of the network, a file of them, or classes='coco'."
        fail(where, expected="names of the classes", got="none in the file", do=do)
    by_score = contract.form in _SCORES
    if is_coco and not contract.sparse:
        given = COCO_NAMES
    if isinstance(given, dict):
        # A score's position, and a number that the user wrote, is the id; a network with
        # numbers that was trained on COCO's ids gives the first of them, 1, as `first_class`.
        first = 0 if by_score else 1 if is_coco else contract.first_class
        if min(given) < first:
            do = "Correct the numbers in classes=."
            fail(where, expected=f"classes from {first}", got=str(min(given)), do=do)
        names = tuple(given.values())
        slots = [-1] * (max(given) - first + 1)
        for label, number in enumerate(given):
            slots[number - first] = label
        return Classes(names, tuple(slots))
    entries = [str(name) for name in given]
    names = tuple(name for name in entries if is_name(name))
    labels = {name: label for label, name in enumerate(names)}
    slots = [labels[name] if is_name(name) else -1 for name in entries]
    if by_score and contract.background == "first":
        slots = [-1, *slots]
    elif by_score and contract.background == "last":
        slots = [*slots, -1]
    return Classes(names, tuple(slots))
