"""The section of a data set's page with the labels that trained networks doubt."""

from mkd_tf.reporting.base import Section, counted
from mkd_tf.reporting.data_photos import Photos, photo_row
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.tables import Table, number
from mkd_tf.schemas.inspection import Doubt, ReviewFile

SHOWN = 12
_WHAT = {
    "missing": "Objects that no label names",
    "wrong class": "Labels of another class than what is there",
    "loose box": "Boxes that do not fit their object",
    "nothing there": "Labels where the networks see nothing",
}


def review_section(review: ReviewFile, photos: Photos) -> Section:
    """Returns a table of the kinds, and of each kind the images with the most suspicion."""
    networks = " and ".join(review["networks"])
    rows = [[kind, f"{review['counts'].get(kind, 0):,}", what] for kind, what in _WHAT.items()]
    caption = f"{review['labels']:,} labels in {review['images']:,} images, seen by {networks}"
    body: list[Element | Table] = [
        Table(caption, ["kind", "count", "what"], rows, words=("what",), style="text")
    ]
    for kind, what in _WHAT.items():
        doubts = [doubt for doubt in review["doubts"] if doubt["kind"] == kind][:SHOWN]
        if doubts:
            figures = [photos.doubted(doubt, _note(doubt)) for doubt in doubts]
            title = f"{what}: the first {len(doubts)} of {counted(review['counts'][kind], 'doubt')}"
            body.append(node("div", node("h4", title), photo_row(figures), class_="photos"))
    lead = (
        f"Where {networks} of the run disagree most with the labels, ranked by suspicion. Yellow and dotted "
        "is the label, orange and dashed what they suggest. They learned the training labels: a doubt "
        "there is one that learning did not remove. Networks are wrong, too: look before you correct. "
        "review_coco.json has the same for annotation tools."
    )
    return Section("Label review", lead, body)


def _note(doubt: Doubt) -> str:
    said = f"{doubt['label']}" if "label" in doubt else ""
    suggested = doubt.get("suggested_label", "")
    if doubt["kind"] == "missing":
        text = f"{suggested} {number(doubt.get('score'), '.2f')}"
    elif doubt["kind"] == "wrong class":
        text = f"{said}, or {suggested} {number(doubt.get('score'), '.2f')}"
    elif doubt["kind"] == "loose box":
        text = f"{said}, IoU {number(doubt.get('iou'), '.2f')}"
    else:
        text = f"{said}, best score {number(doubt.get('score'), '.2f')}"
    return f"{text}; {' and '.join(doubt['networks'])}, suspicion {doubt['suspicion']:.2f}"
