"""Markup, scales, tables and charts."""

import itertools

import numpy as np
import pytest

from mkd_tf.reporting.markup import name_of, node, rendered, text_of
from mkd_tf.reporting.plot import Panel, path_of, series
from mkd_tf.reporting.scales import Scale, around, written
from mkd_tf.reporting.sections.confusion import folded
from mkd_tf.reporting.sections.sweeps import parameter_of, sweeps_of
from mkd_tf.reporting.strips import Strip
from mkd_tf.reporting.tables import DASH, Table, in_latex, number


def test_what_is_text_stays_text():
    found = rendered(node("p", "<b>", node("i", "&"), None, [" x ", "y"], class_='"q"', stroke_width=2))
    assert found == '<p class="&quot;q&quot;" stroke-width="2">&lt;b&gt;<i>&amp;</i> x y</p>'


def test_names_may_be_broken_and_keep_their_text():
    broken = node("th", name_of("cap_gradient_cap=0.5"))
    assert text_of(broken) == "cap_gradient_cap=0.5"
    assert rendered(broken) == "<th>cap_<wbr>gradient_<wbr>cap=<wbr>0.5</th>"


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Scale(-6.3, 13.2), [-5, 0, 5, 10]),
        (Scale(0.04, 2.5, log=True), [0.05, 0.1, 0.2, 0.5, 1, 2]),
    ],
)
def test_ticks_are_round(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)


def test_places():
    assert Scale(2, 4).place(3) == 0.5 and Scale(2, 4).place(9) == 1
    assert Scale(0.01, 1, log=True).place(0.1) == pytest.approx(0.5)
    assert Scale(0.01, 1, log=True).place(0) == 0


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [float("nan"), 1.0], [-2.0, 5.0], [1e9, 2e9]])
@pytest.mark.parametrize(("zero", "log"), [(False, False), (True, False), (False, True)])
def test_a_scale_holds_its_values(values, zero, log):
    scale = around(values, zero=zero, log=log)
    assert scale.low < scale.high
    assert all(scale.low <= v <= scale.high for v in values if v == v and (v > 0 or not log))
    assert not zero or scale.low <= 0 <= scale.high
    assert 0 < len(scale.ticks()) <= 14


def test_ticks_are_written_short():
    values = [0, 0.0005, 0.25, 1500, 48_000, 1_200_000]
    assert [written(v) for v in values] == ["0", "5e-4", "0.25", "1500", "48k", "1.2M"]


def test_points_on_a_level_are_left_out_of_a_path():
    assert path_of([(0, 1), (1, 1), (2, 1), (3, 5)]) == "M0.0 1.0L2.0 1.0L3.0 5.0"


def test_a_panel_draws_upwards_and_names_itself():
    panel = Panel(Scale(0, 1, "x"), Scale(0, 10, "y"))
    (left, low), (right, high) = panel.at(0, 0), panel.at(1, 10)
    assert left < right and low > high
    panel.line([(0, 0), (1, 10)], series(0), "line <1>")
    panel.dots([(0.5, 5)], series(9), ["half"])
    svg = panel.svg("a title", "a description")
    assert [child.tag for child in svg][:2] == ["title", "desc"]
    assert svg.get("aria-labelledby") == f"{svg[0].get('id')} {svg[1].get('id')}"
    assert svg.find(".//circle").get("class") == "dot s1"
    assert "line &lt;1&gt;" in rendered(svg)


def test_ids_are_unique():
    drawings = [Strip(Scale(0, 1)).dots([0.5], "s0").svg("a", "b") for _ in range(3)]
    ids = [child.get("id") for drawing in drawings for child in itertools.islice(drawing, 2)]
    assert len(set(ids)) == 6


TABLE = Table("Of 50 % & more", ["name", "kind", "AP"], [["a_b|<c>", "x\\y", "−1.0"]], ["kind"])


def test_a_table_in_html():
    table = TABLE.html()
    assert table.get("tabindex") == "0" and table.get("role") == "region"
    assert [th.get("scope") for th in table.iter("th")] == ["col", "col", "col", "row"]
    assert text_of(table.find(".//caption")) == TABLE.caption


def test_a_table_in_markdown():
    assert TABLE.markdown() == (
        "**Of 50 % &amp; more**\n\n| name | kind | AP |\n| --- | --- | ---: |\n"
        "| a_b\\|&lt;c&gt; | x\\\\y | −1.0 |\n"
    )


def test_a_table_in_latex():
    found = TABLE.latex()
    assert r"\caption{Of 50 \% \& more}" in found and r"\begin{tabular}{llr}" in found
    assert r"a\_b|\textless{}c\textgreater{} & x\textbackslash{}y & $-$1.0 \\" in found
    assert in_latex("~^–") == r"\textasciitilde{}\textasciicircum{}--"


def test_numbers():
    given = [(None, ".1f"), (-0.04, "+.1f"), (-1.25, "+.2f"), (12345, ",d"), (0.0, ".1f")]
    assert [number(*one) for one in given] == [DASH, "0.0", "−1.25", "12,345", "0.0"]


def test_sweeps_by_name():
    arms = ["soft", "cap_gradient_cap=0.5", "cap_gradient_cap=0.1", "one=3", "h_w=1e-3_t=2", "h_w=1e-3_t=4"]
    arms += ["version=1.2.3", "version=1.2.4", "dots=..", "dots=1"]
    found = sweeps_of(arms)
    assert found["cap_gradient_cap"] == [(0.1, "cap_gradient_cap=0.1"), (0.5, "cap_gradient_cap=0.5")]
    assert set(found) == {"cap_gradient_cap", "h_w=1e-3_t"}
    assert parameter_of("cap_gradient_cap") == ("cap", "gradient_cap")
    assert parameter_of("h_w=1e-3_t") == ("h_w=1e-3", "t")


def test_rare_classes_are_counted_together():
    matrix = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 1, 2, 3], [4, 5, 6, 0]]
    assert folded(np.array(matrix), [1]).tolist() == [[6, 12, 8], [3, 15, 7], [5, 10, 0]]
