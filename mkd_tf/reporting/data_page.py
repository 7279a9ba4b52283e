"""`data.html`: what a data set holds, what was not used, and what looks wrong, on one page."""

import time

from mkd_tf.data.base import Dataset
from mkd_tf.evaluation.drawing import PALETTE
from mkd_tf.inspection.inspecting import Inspection
from mkd_tf.inspection.learnable import MOST_IMAGES
from mkd_tf.inspection.rows import class_rows, split_rows
from mkd_tf.reporting.base import Section, counted
from mkd_tf.reporting.data_charts import class_bars, heat_maps, size_charts, swatches
from mkd_tf.reporting.data_photos import PER_SUSPECT, Photos, photo_row, rgb
from mkd_tf.reporting.data_review import review_section
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.page import document, tile
from mkd_tf.reporting.tables import Table
from mkd_tf.schemas.inspection import InspectionFile, ReviewFile
from mkd_tf.version import __version__

_MOST_ROWS = 200


def data_page(
    inspection: Inspection, dataset: Dataset, command: str, review: ReviewFile | None = None
) -> str:
    """Returns the page of a data set.

    Args:
      inspection: of the data set.
      dataset: whose images are drawn.
      command: how the program was called.
      review: the labels that networks doubt, if they were asked.
    """
    record = inspection.record
    photos = Photos(dataset, inspection.contents)
    sections = {"splits": splits_section(record), "classes": _classes(record)}
    sections["sizes"] = Section(
        "Box sizes",
        f"The root of each box's area in pixels of the {record['image_size']} px input ({record['fit']}). "
        f"The finest level has a location every {record['strides'][0]} px; smaller objects share locations.",
        size_charts(record, inspection.contents),
    )
    sections["places"] = Section(
        "Places of boxes",
        "How many boxes lie over each place of an image, all images brought to one square.",
        heat_maps(record, inspection.contents),
    )
    if record["notices"]:
        sections["notices"] = notices_section(record)
    sections["suspects"] = _suspects(record, photos)
    if review is not None:
        sections["review"] = review_section(review, photos)
    sheet = [photos.labelled(split, index) for split, index in photos.sheet()]
    # More classes share colours, and have names alone.
    names = record["classes"] if len(record["classes"]) <= len(PALETTE) else []
    key = swatches([(name, "", rgb(label)) for label, name in enumerate(names)])
    sections["images"] = Section(
        "Contact sheet",
        "An image of each class, the rarest first, and others at equal distances. Colours are classes; the "
        "largest box of each class bears its name.",
        [key, photo_row(sheet)],
    )
    header = node(
        "header",
        node("p", "Data set", class_="kind"),
        node("h1", record["name"]),
        node("p", _about(record), class_="about"),
        node("ul", _tiles(record), class_="tiles"),
    )
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    footer = f"Made with mkd_tf {__version__}: {command}, {made}"
    return document(f"{record['name']}: data set", header, sections, footer, {})


def _about(record: InspectionFile) -> str:
    names = record["classes"]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    listed = f"{', '.join(names[:12])}{more}"
    return f"{record['dataset']}; input {record['image_size']} px; {counted(len(names), 'class')}: {listed}."


def _tiles(record: InspectionFile) -> list[Element]:
    splits = record["splits"]
    images = sum(facts["images"] for facts in splits.values())
    objects = sum(facts["objects"] for facts in splits.values())
    learnable = sum(facts["learnable"] for facts in splits.values())
    each = ", ".join(f"{split} {facts['images']:,}" for split, facts in splits.items())
    kinds = len(record["suspects"])
    found = [tile(f"{images:,}", "images", each)]
    lost = objects - learnable
    found.append(tile(f"{objects:,}", "objects", f"{lost:,} get no location of their own" if lost else ""))
    train = splits.get("train") or next(iter(splits.values()))
    if train["size_px"]:
        low, _, middle, _, high = train["size_px"]
        found.append(
            tile(f"{middle:.0f} px", "median object in training", f"90 % from {low:.0f} to {high:.0f}")
        )
    found.append(tile(str(kinds), "kinds of suspects", style="bad" if kinds else "good"))
    left = sum(n["count"] for n in record["notices"] if n["kind"] in ("problem", "unused", "unknown"))
    found.append(tile(f"{left:,}", "entries not used", style="bad" if left else "good"))
    return found


def splits_section(record: InspectionFile) -> Section:
    """Returns what each split holds."""
    rows = split_rows(record)
    caption = f"Counts of images and objects; sizes in pixels of the {record['image_size']} px input"
    sampled = [s for s, f in record["splits"].items() if f["assigned_images"] >= MOST_IMAGES]
    note = f" In {', '.join(sampled)} they were counted on a sample." if sampled else ""
    lead = (
        "Learnable objects get at least one location of the output for themselves in the assignment of "
        f"training, without augmentation.{note}"
    )
    return Section("Splits", lead, [Table(caption, ["", *record["splits"]], rows)])


def _classes(record: InspectionFile) -> Section:
    columns, rows = class_rows(record)
    table = Table("Images that have the class, and its objects", columns, rows[:_MOST_ROWS])
    lead = (
        "Objects of each class; a class with few objects in training is learned badly, whatever the network."
    )
    return Section("Classes", lead, [*class_bars(record), table])


def notices_section(record: InspectionFile) -> Section:
    """Returns what reading the files left out or changed."""
    rows = []
    for notice in record["notices"][:_MOST_ROWS]:
        shown = ", ".join(notice["examples"])
        rows.append([notice["where"], notice["kind"], f"{notice['count']:,}", notice["message"], shown])
    more = len(record["notices"]) - len(rows)
    caption = "Files, lists and entries" + (f"; {more:,} more are in data.json" if more else "")
    columns = ["where", "kind", "count", "what", "such as"]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table = Table(caption, columns, rows, words=("kind", "what", "such as"), style="text")
    lead = "What reading the data set did not use, or read otherwise than it is written."
    return Section("Not used or changed", lead, [table])


def _suspects(record: InspectionFile, photos: Photos) -> Section:
    found = record["suspects"]
    if not found:
        return Section("Suspects", "Nothing looks wrong.", [])
    rows = [[s["kind"], f"{s['count']:,}", s["message"]] for s in found]
    table = Table("What looks wrong", ["kind", "count", "what"], rows, words=("what",), style="text")
    body: list[Element | Table] = [table]
    for one in found:
        figures = [figure for place in one["places"][:PER_SUSPECT] for figure in photos.marked(place)]
        if figures:
            title = node("h4", f"{one['kind']}: {one['message']} ({one['count']:,})")
            body.append(node("div", title, photo_row(figures), class_="photos"))
    lead = "Hints for people: each of them can be right. Orange and dashed is the object that is meant."
    return Section("Suspects", lead, body)
