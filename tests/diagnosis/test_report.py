"""The diagnosis on the terminal, in CSV and JSON, and drawn."""

import csv
import io
import json
import math

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mkd_tf.diagnosis.layer_errors import Diagnosis, LayerError
from mkd_tf.diagnosis.layer_quantization import Layer
from mkd_tf.diagnosis.report import as_csv, as_json, as_table, plot
from mkd_tf.files import to_json


def errors(count):
    """The first has no error of its own, the last one where the signal is 0."""
    made = []
    for i in range(count):
        own = 0.0 if i == 0 else math.inf if i == count - 1 else 0.01
        layer = Layer(f"layer{i}", "CONV_2D", f"core/layer{i}", 0.5, -3)
        made.append(LayerError(layer, 0.1, own, 0.0, 0.04 / (i + 1), 0.03 / (i + 1)))
    return Diagnosis(tuple(made), {"class_logits": 0.1, "scores": 0.06, "box_encodings": 0.08}, 7)


def test_json_is_strict_and_complete():
    found = json.loads(to_json(as_json(errors(3)), "here"))
    assert found["images"] == 7 and found["total"]["scores"] == 0.06
    first, second, last = found["layers"]
    assert first["isolated"] == 0 and first["isolated_db"] is None
    assert last["isolated"] is None and last["isolated_db"] is None
    assert second["isolated_db"] == pytest.approx(40) and second["accumulated_db"] == pytest.approx(20)
    assert first["hurt"] == pytest.approx(math.sqrt((0.04**2 + 0.03**2) / 2))
    assert (second["layer"], second["operator"], second["step"], second["zero_point"]) == (
        "layer1",
        "CONV_2D",
        0.5,
        -3,
    )


def test_csv_has_a_line_per_layer():
    rows = list(csv.DictReader(io.StringIO(as_csv(errors(3)))))
    assert [row["layer"] for row in rows] == ["layer0", "layer1", "layer2"]
    assert float(rows[1]["scores"]) == 0.02 and rows[0]["isolated_db"] == ""


def test_the_table_fits_a_terminal_and_says_what_it_leaves_out():
    text = io.StringIO()
    Console(file=text, width=80).print(as_table(errors(5), "title", rows=2))
    shown = text.getvalue()
    assert "layer1" in shown and "layer2" not in shown and "3 more layers" in shown
    assert "…" not in shown, "a column was cut"
    # Of the whole file: the root of (0.06^2 + 0.08^2) / 2.
    assert "7.07" in shown and "6.00" in shown and "8.00" in shown


@pytest.mark.parametrize("count", [1, 40])
def test_the_plot_is_an_image_of_all_rows(count):
    image = np.asarray(Image.open(io.BytesIO(plot(errors(count), "title"))).convert("RGB"))
    height, width = image.shape[:2]
    assert width == 1210 and height > 150
    # The colours of scores and box encodings, each in a bar of its own.
    for color in ((0, 114, 178), (230, 159, 0)):
        assert (np.abs(image.astype(int) - color).max(-1) < 8).sum() > 200
