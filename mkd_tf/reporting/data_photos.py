"""Images of a data set with their labels: a contact sheet, and the places of what looks wrong."""

from collections.abc import Mapping, Sequence

import numpy as np

from mkd_tf.data.base import Dataset, image_of
from mkd_tf.evaluation.drawing import class_color
from mkd_tf.inspection.contents import Contents
from mkd_tf.reporting.base import counted
from mkd_tf.reporting.markup import Element, name_of, node
from mkd_tf.reporting.photos import box_mark, fitted, photo, tag_mark
from mkd_tf.schemas.inspection import Doubt, Place

SHEET = 16
PER_SUSPECT = 4
_MOST_TAGS = 8
_MOST_BOXES = 200


class Photos:
    """Draws images of a data set with their labels."""

    def __init__(self, dataset: Dataset, contents: Mapping[str, Contents]):
        self._dataset, self._contents = dataset, contents
        self._places = {s: {image: i for i, image in enumerate(c.ids)} for s, c in contents.items()}

    def index(self, split: str, image: str) -> int:
        """Returns the index of an image in its split."""
        return self._places[split][image]

    def labelled(self, split: str, index: int, note: str = "") -> Element:
        """Returns an image with all its labels, each in the colour of its class."""
        c, names = self._contents[split], self._dataset.class_names
        own = np.flatnonzero(c.image == index)[:_MOST_BOXES]
        size = fitted(tuple(c.height_width[index].tolist()))
        marks = [box_mark(c.boxes[i], size, "", rgb(int(c.labels[i]))) for i in own]
        # Many names would hide the image: the largest box of each class has one.
        order = own[np.argsort(-c.size_px[own], kind="stable")]
        first = [int(order[c.labels[order] == label][0]) for label in dict.fromkeys(c.labels[order].tolist())]
        marks += [tag_mark(c.boxes[i], size, names[c.labels[i]], "") for i in first[:_MOST_TAGS]]
        text = note or counted(len(own), "object")
        return self._figure(split, index, marks, text)

    def marked(self, place: Place) -> list[Element]:
        """Returns the image of a suspect with the object in it, beside its twin where it has one."""
        c = self._contents[place["split"]]
        index = self.index(place["split"], place["image"])
        own = np.flatnonzero(c.image == index)[:_MOST_BOXES]
        size = fitted(tuple(c.height_width[index].tolist()))
        marks = [box_mark(c.boxes[i], size, "ignored") for i in own]
        if "object" in place:
            marks.append(box_mark(c.boxes[np.flatnonzero(c.image == index)[place["object"]]], size, "false"))
        found = [self._figure(place["split"], index, marks, place.get("note", ""))]
        if "twin" in place:
            split, image = place["twin"]
            found.append(self._figure(split, self.index(split, image), [], ""))
        return found

    def doubted(self, doubt: Doubt, note: str) -> Element:
        """Returns the image of a doubt: its label, and what the networks suggest."""
        c = self._contents[doubt["split"]]
        index = self.index(doubt["split"], doubt["image"])
        size = fitted(tuple(c.height_width[index].tolist()))
        sides = np.tile(c.height_width[index], 2)
        marks = [
            box_mark(c.boxes[i], size, "ignored") for i in np.flatnonzero(c.image == index)[:_MOST_BOXES]
        ]
        for key, style in (("box", "missed"), ("suggested_box", "false")):
            if key in doubt:
                marks.append(box_mark(np.asarray(doubt[key]) / sides, size, style))  # type: ignore[literal-required]
        return self._figure(doubt["split"], index, marks, note)

    def _figure(self, split: str, index: int, marks: list[Element], note: str) -> Element:
        image = image_of(self._dataset.split(split), index)
        name = self._contents[split].ids[index]
        drawn = photo(image, marks, f"{name}, {split}{f', {note}' if note else ''}")
        small = f"{split}{f'; {note}' if note else ''}"
        caption = node("figcaption", node("b", name_of(name)), " ", node("span", name_of(small)))
        return node("figure", drawn, caption)

    def sheet(self) -> list[tuple[str, int]]:
        """Returns which images the contact sheet shows: one of each class, then at equal distances.

        The class with the fewest objects comes first, so that it has a place in the sheet.
        """
        split = "train" if "train" in self._contents else next(iter(self._contents))
        c = self._contents[split]
        counts = np.bincount(c.labels[c.is_object], minlength=len(self._dataset.class_names))
        chosen: list[int] = []
        for label in np.argsort(counts, kind="stable").tolist():
            images = np.unique(c.image[c.is_object & (c.labels == label)])
            if len(images) and not set(images.tolist()) & set(chosen):
                chosen.append(int(images[len(images) // 2]))
        chosen = chosen[: SHEET // 2]
        for index in np.linspace(0, len(c.ids) - 1, SHEET).round().astype(int).tolist():
            if index not in chosen and len(chosen) < SHEET:
                chosen.append(index)
        return [(split, index) for index in sorted(chosen)]


def photo_row(figures: Sequence[Element]) -> Element:
    """Returns images beside each other."""
    return node("div", figures, class_="row")


def rgb(label: int) -> str:
    """Returns the colour of a class in CSS."""
    red, green, blue = class_color(label)
    return f"rgb({red},{green},{blue})"
