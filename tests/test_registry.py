"""Specs are parsed, never evaluated; tables say what they know."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.registry import Spec, Table, parse_spec, parse_specs


class Base:
    def __init__(self, size=1, color="red"):
        self.size, self.color = size, color


class Middle(Base):
    def __init__(self, parts, *, sides, **kwargs):
        super().__init__(**kwargs)
        self.parts = parts * sides


class Derived(Middle):
    def __init__(self, depth=1, **kwargs):
        super().__init__(2, sides=3, **kwargs)
        self.depth = depth


TABLE: Table[Base] = Table("thing", {"base": Base, "derived": Derived})


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("shapes", "shapes", {}),
        ("  shapes ", "shapes", {}),
        ("voc/2007", "voc/2007", {}),
        ("coco-mini.v2/2017", "coco-mini.v2/2017", {}),
        ("coco/2017(unlabelled=True, split_seed=3)", "coco/2017", {"unlabelled": True, "split_seed": 3}),
        ("voc/2007()", "voc/2007", {}),
        ("tiny()", "tiny", {}),
        ("tiny(size='student', pyramid=24)", "tiny", {"size": "student", "pyramid": 24}),
        (
            "f(a=-1.5, b=(1, 2), c=None, d={'e': [True]})",
            "f",
            {"a": -1.5, "b": (1, 2), "c": None, "d": {"e": [True]}},
        ),
    ],
)
def test_a_spec_is_a_name_or_a_call(text, name, arguments):
    assert parse_spec(text) == Spec(name, arguments)


def test_a_spec_prints_as_it_is_parsed():
    text = "tiny(size='student', widths=(8, 16))"
    assert str(parse_spec(text)) == text
    assert parse_spec(str(parse_spec(text))) == parse_spec(text)
    assert str(Spec("voc/2007")) == "voc/2007"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "'shapes'",
        "tiny('student')",
        "tiny(size=student)",
        "tiny(size=1+x)",
        "tiny(size=open('a'))",
        "tiny(**{'size': 1})",
        "tiny(size=1, size=2)",
        "a, b",
        "a.b(c=1)",
        "tiny(size={[]: 1})",
        "__import__('os').system('true')",
        "tiny(",
        "tiny(size=1))",
        "1",
        "a\x00b",
    ],
)
def test_what_is_no_spec_is_told(text):
    with pytest.raises(MkdError, match="--dataset: expected a name or name") as error:
        parse_spec(text, "--dataset")
    assert "voc_folder(path='images')" in str(error.value)


def test_specs_are_separated_by_commas():
    assert parse_specs("a, b(c='x, y'),d") == (Spec("a"), Spec("b", {"c": "x, y"}), Spec("d"))
    assert parse_specs("a,\n  b") == (Spec("a"), Spec("b"))
    assert parse_specs(" ") == ()
    with pytest.raises(MkdError, match="--strategies: expected"):
        parse_specs("a, b(1)", "--strategies")
    with pytest.raises(MkdError, match="strategies"):
        parse_specs("a] + [b", "strategies")


def test_a_table_builds_with_arguments_and_context():
    made = TABLE.build("derived(depth=3, size=2)", color="blue")
    assert (type(made), made.depth, made.size, made.color) == (Derived, 3, 2, "blue")
    assert made.parts == 6
    assert TABLE.build(Spec("base", {"size": 5})).size == 5
    assert list(TABLE) == ["base", "derived"]


def test_an_unknown_name_is_told():
    with pytest.raises(MkdError, match="thing: expected one of base, derived, got 'other'"):
        TABLE.build("other")


@pytest.mark.parametrize("spec", ["base(weight=1)", "derived(weight=1)", "base(color='blue')"])
def test_an_argument_that_does_not_fit_is_told(spec):
    with pytest.raises(MkdError, match=r"thing .*takes: .*size.* Correct the arguments\.") as error:
        TABLE.build(spec, color="red")
    takes = str(error.value).split("takes:")[1]
    assert "color" not in takes, "the context is not the user's to give"
    assert "parts" not in takes and "sides" not in takes, "the class gives them to its base"


def test_an_error_inside_a_builder_is_not_disguised():
    def broken(size=1):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        Table("thing", {"broken": broken}).build("broken")


def test_a_complete_spec_has_the_defaults():
    assert TABLE.complete(Spec("base", {"color": "blue"})) == Spec("base", {"size": 1, "color": "blue"})
    assert TABLE.complete(Spec("derived")) == TABLE.complete(parse_spec("derived(depth=1, size=1)"))
    with pytest.raises(MkdError, match="thing: expected one of base, derived"):
        TABLE.complete(Spec("other"))
