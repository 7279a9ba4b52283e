"""Counts and sizes of a split, by class."""

import numpy as np

from mkd_tf.inspection.contents import Contents
from mkd_tf.schemas.inspection import ClassFacts, SplitFacts

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles of box sizes in `SplitFacts`."""


def split_facts(
    contents: Contents, class_names: tuple[str, ...], learnable: np.ndarray, finest_stride: int
) -> SplitFacts:
    """Returns what a split holds.

    Args:
      contents: of the split.
      class_names: the classes in the order of the labels.
      learnable: `[M]` as `learnable.learnable` returns it. Where only a sample of the images was
        assigned, counts are those of the sample times the share of objects that are in it.
      finest_stride: distance of two locations of the finest level, in pixels of the input.
    """
    c = contents
    objects, size = c.is_object, c.size_px
    # An image with an unknown area, or a crowd, may hold objects all the same.
    is_negative = c.is_labelled & ~c.is_unknown & (c.areas == 0) & (c.counts(objects | c.is_crowd) == 0)
    is_small = objects & (size < finest_stride)
    per_class: dict[str, ClassFacts] = {}
    for label, name in enumerate(class_names):
        own = objects & (c.labels == label)
        per_class[name] = {
            "images": len(np.unique(c.image[own])),
            "objects": int(own.sum()),
            "learnable": _scaled(learnable, own),
            "below_stride": int((own & is_small).sum()),
            "median_px": float(np.median(size[own])) if own.any() else None,
        }
    seen = ~np.isnan(learnable)
    return {
        "images": len(c.ids),
        "labelled": int(c.is_labelled.sum()),
        "unlabelled": int((~c.is_labelled).sum()),
        "negatives": int(is_negative.sum()),
        "unknown_images": int((c.is_unknown & c.is_labelled).sum()),
        "unknown_areas": int(c.areas[~c.is_unknown].sum()),
        "crowds": int(c.is_crowd.sum()),
        "difficult": int((c.is_difficult & objects).sum()),
        "objects": int(objects.sum()),
        "learnable": _scaled(learnable, objects),
        "below_stride": int(is_small.sum()),
        "assigned_images": len(np.unique(c.image[seen & objects])),
        "height_px": float(np.median(c.height_width[:, 0])) if len(c.ids) else 0.0,
        "width_px": float(np.median(c.height_width[:, 1])) if len(c.ids) else 0.0,
        "size_px": np.quantile(size[objects], QUANTILES).tolist() if objects.any() else [],
        "per_class": per_class,
    }


def _scaled(learnable: np.ndarray, chosen: np.ndarray) -> int:
    """Returns how many of the `chosen` are learnable, from those that were looked at."""
    looked = chosen & ~np.isnan(learnable)
    if not looked.any():
        return 0
    return round(float(learnable[looked].mean()) * int(chosen.sum()))
