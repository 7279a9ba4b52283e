"""Options become flags: what a program gets of them, and what the help says."""

import dataclasses
import sys

import pytest

from mkd_tf import flags
from mkd_tf.checks import MkdError, check_fraction
from mkd_tf.config import Config
from mkd_tf.options import Options, at_least, option


@dataclasses.dataclass(frozen=True)
class Colours(Options):
    """How it is painted.

    Not in the help.
    """

    colour: str = option("red", "Of the wall.", choices=("red", "green"))
    gloss: str = option("none", "Of the paint.", choices=("none", "high"))
    layers: int = option(1, "How many.", check=at_least(1))
    dry: bool = option(False, "Whether it has to dry.")


@dataclasses.dataclass(frozen=True)
class Place(Options):
    """Where it is."""

    room: str = option("", "The room.", needs="a room")
    share: float = option(0.5, "Of the wall.", check=check_fraction)


@pytest.fixture
def call(monkeypatch):
    """Returns what a program's `main` gets, called with flags."""

    def called(groups, *given):
        got = []
        monkeypatch.setattr(sys, "argv", ["mkd paint", *given])
        monkeypatch.setattr(flags, "FLAGS", flags.flags.FlagValues())
        values = flags.FLAGS
        flags._define((f for g in groups for p in flags._parts(g) for f in dataclasses.fields(p)), values)
        values(sys.argv)
        got += [flags._build(group) for group in groups]
        return got

    return called


def test_a_program_gets_its_options(call):
    colours, place = call([Colours, Place], "--layers=3", "--room=hall", "--dry")
    assert colours == Colours(layers=3, dry=True) and place == Place(room="hall")


def test_several_values_make_every_combination(call):
    (made,) = call([flags.Several(Colours)], "--colour=green, red", "--gloss=none,high", "--layers=2")
    assert [(c.colour, c.gloss, c.layers) for c in made] == [
        ("green", "none", 2),
        ("green", "high", 2),
        ("red", "none", 2),
        ("red", "high", 2),
    ]


def test_the_groups_of_a_training_run_are_one_configuration(call):
    (config,) = call([Config], "--mosaic=0.25", "--workdir=runs/x")
    assert (config.augmentation.mosaic, config.run.workdir) == (0.25, "runs/x")
    assert config.optimizer == Config().optimizer


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--colour=blue", "--room=x"], "flag --colour: expected one of red, green, got 'blue'"),
        (["--layers=0", "--room=x"], "flag --layers: expected 1 or more, got 0"),
        (["--share=2", "--room=x"], "flag --share: expected a number from 0 to 1"),
        ([], "flag --room: expected a room, got nothing. Give --room="),
        (["--room='hall'"], "flag --room: expected a bare value"),
        (["--room=hall # the large one"], "flag --room: expected a bare value"),
    ],
)
def test_what_is_not_allowed_names_the_flag(call, given, told):
    with pytest.raises(MkdError, match=told):
        call([Colours, Place], *given)


def test_the_help_of_a_class(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert flags.describe(Colours).splitlines() == [
        "How it is painted:",
        "  --colour=red                  Of the wall. One of red,",
        "                                green.",
        "  --gloss=none                  Of the paint. One of none,",
        "                                high.",
        "  --layers=1                    How many.",
        "  --dry=false                   Whether it has to dry.",
    ]


def test_the_name_of_the_program(monkeypatch):
    for argv, expected in (
        (["/bin/mkd train", "--seed=1"], "mkd train --seed=1"),
        (["/x/mkd_tf/train.py", "--dataset=a b"], "python -m mkd_tf.train '--dataset=a b'"),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        assert flags.command() == expected
