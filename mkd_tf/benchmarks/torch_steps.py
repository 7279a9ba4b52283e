"""The default step of the small pair written plainly in PyTorch, for whom that is the other choice.

The same networks, layer by layer, the same losses and optimiser, eager as PyTorch code is; the
targets are assigned beforehand, as ours are. PyTorch is no requirement: it is imported where it is used.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mkd_tf.benchmarks.cases import Work
from mkd_tf.benchmarks.steps import CLASS_NAMES, SMALL, network
from mkd_tf.detection.boxes import MAX_LOG_SIZE, SCALE_CENTER, SCALE_SIZE
from mkd_tf.detectors.tiny import SIZES

RATE, BETA, BOX_WEIGHT = 1e-3, 2.0, 2.0
# Modules and tensors: types of a package that need not be there.
Module = Any
Tensor = Any


def conv_norm(channels: int, filters: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> Module:
    """Returns a convolution, padded as TensorFlow pads, a batch norm and ReLU6."""
    from torch import nn

    # Of an even side, a strided convolution wants more below and to the right.
    missing = max(kernel - stride, 0)
    low, high = missing // 2, missing - missing // 2
    steps = [
        nn.ZeroPad2d((low, high, low, high)),
        nn.Conv2d(channels, filters, kernel, stride, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=0.03),
    ]
    return nn.Sequential(*steps, *([nn.ReLU6()] if relu else []))


def block(form: str, channels: int, filters: int) -> Module:
    """Returns what halves a map: one convolution, or two and a shortcut."""
    from torch import nn

    parts = {"first": conv_norm(channels, filters, stride=2)}
    if form == "residual":
        parts["second"] = conv_norm(filters, filters, relu=False)
        is_equal = channels == filters
        parts["shortcut"] = nn.Identity() if is_equal else conv_norm(channels, filters, 1, relu=False)
    return nn.ModuleDict(parts)


def halved(parts: Module, x: Tensor) -> Tensor:
    """Returns a map after a block."""
    from torch.nn import functional

    found = parts["first"](x)
    if "second" not in parts:
        return found
    return functional.relu6(parts["second"](found) + parts["shortcut"](functional.avg_pool2d(x, 2)))


def tiny(size: str, num_classes: int) -> Module:
    """Returns the parts of a network of the `tiny` family: stages, pyramid and head."""
    from torch import nn

    form = SIZES[size]
    widths, width = form["widths"], form["pyramid"]
    is_patch = form["stem"] == "patch"
    stages = [] if is_patch else [block(form["block"], widths[0], widths[0])]
    stages += [block(form["block"], a, b) for a, b in zip(widths, widths[1:], strict=False)]
    parts = {
        "stem": conv_norm(3, widths[0], 4, 4) if is_patch else conv_norm(3, widths[0], stride=2),
        "stages": nn.ModuleList(stages),
        "laterals": nn.ModuleList(conv_norm(w, width, 1) for w in widths[1:]),
        "merged": nn.ModuleList(conv_norm(width, width) for _ in widths[1:]),
        "towers": nn.ModuleList(conv_norm(width, width) for _ in widths[1:]),
        "classes": nn.Conv2d(width, num_classes, 3, padding=1),
        "boxes": nn.Conv2d(width, 4, 3, padding=1),
    }
    return nn.ModuleDict(parts)


def predictions(parts: Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns class logits `[B, N, C]` and box encodings `[B, N, 4]` of images `[B, 3, S, S]` in 0..255."""
    from torch.nn import functional

    x, maps = parts["stem"](images / 127.5 - 1.0), []
    for stage in parts["stages"]:
        x = halved(stage, x)
        maps.append(x)
    laterals = [lateral(m) for lateral, m in zip(parts["laterals"], maps[-3:], strict=True)]
    levels = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        levels.insert(0, lateral + functional.interpolate(levels[0], scale_factor=2.0, mode="nearest"))
    heads = zip(parts["towers"], parts["merged"], levels, strict=True)
    found = [tower(merged(level)) for tower, merged, level in heads]
    return rows([parts["classes"](x) for x in found]), rows([parts["boxes"](x) for x in found])


def rows(maps: Sequence[Tensor]) -> Tensor:
    """Returns maps `[B, C, h, w]` as rows `[B, sum of h * w, C]`."""
    import torch

    return torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], dim=1)


def decode(encodings: Tensor, anchors: Tensor) -> Tensor:
    """Returns boxes yxyx of encodings."""
    import torch

    centers = encodings[..., :2] / SCALE_CENTER * anchors[:, 2:] + anchors[:, :2]
    logs = (encodings[..., 2:] / SCALE_SIZE).clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE)
    halves = logs.exp() * anchors[:, 2:] / 2
    return torch.cat([centers - halves, centers + halves], dim=-1)


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns IoU and GIoU of boxes in pairs."""
    import torch

    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b)]
    union = areas[0] + areas[1] - intersection
    sides = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull, iou = sides.prod(-1).clamp(min=1e-7), intersection / union.clamp(min=1e-7)
    return iou, iou - (hull - union) / hull


def quality_focal(targets: Tensor, logits: Tensor, beta: float) -> Tensor:
    """Returns the quality focal loss of every class."""
    from torch.nn import functional

    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return each * (targets - logits.sigmoid()).abs().pow(beta)


def loss_of(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    targets: dict[str, Tensor],
    anchors: Tensor,
) -> Tensor:
    """Returns the task's loss and the default strategies, `soft_classes, soft_boxes(weight=2.0)`."""
    from torch.nn import functional

    logits, (source, theirs) = student[0], teacher
    ours, weights = decode(student[1], anchors), targets["weights"]
    iou, giou = overlaps(ours, targets["boxes"])
    hot = functional.one_hot(targets["labels"], logits.shape[-1] + 1)[..., :-1]
    hot = hot * (iou.detach() * weights)[..., None]
    positives = weights.sum(-1).clamp(min=1)
    task = quality_focal(hot, logits, BETA).sum((1, 2)) + BOX_WEIGHT * ((1 - giou) * weights).sum(-1)
    soft = source.sigmoid()
    sure = soft.amax(-1)
    classes = quality_focal(soft, logits, 1.0).sum((1, 2))
    boxes = ((1 - overlaps(ours, decode(theirs, anchors))[1]) * sure).sum(-1)
    return (task / positives + (classes + BOX_WEIGHT * boxes) / sure.sum(-1).clamp(min=1)).mean()


def default() -> Work:
    """A step: the teacher in inference mode, the student forward, backward, and AdamW."""
    import torch

    # As many threads as the suite allows TensorFlow.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    torch.manual_seed(0)
    ours = network("fast")
    # A sixth faster on a CPU than the default layout.
    layout = {"memory_format": torch.channels_last}
    student, teacher = (tiny(size, len(CLASS_NAMES)).to(**layout) for size in ("fast", "teacher"))
    teacher.eval()
    data = SMALL.data(ours)
    images = torch.tensor(np.asarray(data["images"])).permute(0, 3, 1, 2).contiguous(**layout)
    targets = {
        n: torch.tensor(np.asarray(data["targets"]["student"][n])) for n in ("labels", "boxes", "weights")
    }
    targets["labels"] = targets["labels"].long()
    anchors = torch.tensor(ours.anchors.centers_and_sizes(), dtype=torch.float32)
    decayed: list[Any] = [p for p in student.parameters() if p.ndim > 1]
    plain: list[Any] = [p for p in student.parameters() if p.ndim == 1]
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, RATE)

    def call() -> None:
        with torch.no_grad():
            said = predictions(teacher, images)
        loss = loss_of(predictions(student, images), said, targets, anchors)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())

    return Work(call, "step")
