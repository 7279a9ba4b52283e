"""The file of an ablation: what it may say, and what is said about mistakes."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.experiments.spec import flagfile_values, read_experiment

HEAD = """
seeds = [0, 1]
control = "a"
[datasets]
shapes = "shapes(train=4)"
[networks]
tiny = "tiny"
"""
ARMS = "[arms.a]\n[arms.b]\nbeta = 2.0\n"


def read(tmp_path, text):
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    return read_experiment(path)


def test_defaults_and_flags(tmp_path):
    found = read(tmp_path, HEAD + ARMS)
    assert (found.teachers, found.rule.margin, found.rule.level, found.compared) == (1, 0.3, 0.95, ["b"])
    assert found.dataset_flags("shapes") == {"dataset": "shapes(train=4)"}
    assert found.network_flags("tiny") == {"student": "tiny"}
    assert found.arms["b"].flags == {"beta": 2.0} and found.arms["a"].flags == {}


def test_a_sweep_of_flags_and_of_names_in_braces(tmp_path):
    sweep = """
[arms.s]
strategies = "soft_classes, hint(weight={w})"
sweep = {w = [0.1, 1], beta = [1.0, 2.0]}
"""
    found = read(tmp_path, HEAD + ARMS + sweep)
    assert list(found.arms)[2:] == [
        "s_w=0.1_beta=1.0",
        "s_w=0.1_beta=2.0",
        "s_w=1_beta=1.0",
        "s_w=1_beta=2.0",
    ]
    assert found.arms["s_w=1_beta=2.0"].flags == {"strategies": "soft_classes, hint(weight=1)", "beta": 2.0}


def test_an_arm_with_a_control_of_its_own(tmp_path):
    found = read(tmp_path, HEAD + ARMS + '[arms.c]\ncontrol = "b"\n')
    assert found.compared == ["b", "c"]
    assert (found.control_of("b"), found.control_of("c")) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "arms: Field required"),
        (HEAD + "[arms.a]\n", "arms: Dictionary should have at least 2 items"),
        (HEAD + ARMS + "betta = 1.0\n", r"arms.b: expected flags of mkd_tf.train .* got betta"),
        (
            HEAD + ARMS + 'strategies = """soft_classes,\nsoft_boxes"""\n',
            r"arms.b: strategies: expected one line of text, got 'soft_classes,.nsoft_boxes'. End the lines",
        ),
        (HEAD + ARMS + "seed = 4\n", "arms.b: expected flags .* got seed"),
        (HEAD + ARMS + "flips = [1]\n", "flips.*got"),
        (HEAD + ARMS + "distribution = 'multi_worker'\n", "arms.b: expected trainings of one process each"),
        (HEAD.replace('"a"', '"z"') + ARMS, "control: expected an arm: a, b, got 'z'"),
        (HEAD.replace("[0, 1]", "[1, 1]") + ARMS, r"seeds: expected each once, got \[1, 1\]"),
        (
            HEAD.replace("seeds", "teachers = 3\nseeds") + ARMS,
            "teachers: expected at most the 2 seeds, got 3",
        ),
        (HEAD.replace("tiny =", '"a/b" =') + ARMS, "networks: expected names of letters"),
        (HEAD.replace("seeds", "sedes = 1\nseeds") + ARMS, "sedes: Extra inputs are not permitted"),
        (HEAD + ARMS + "[rule]\nmargin = -1\n", "rule.margin: Input should be greater than or equal to 0"),
        ("seeds = [", "not TOML"),
    ],
)
def test_mistakes_name_their_place(tmp_path, text, message):
    with pytest.raises(MkdError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(MkdError, match=r"none.toml: cannot be read: No such file"):
        read_experiment(tmp_path / "none.toml")


def test_flagfile_values(tmp_path):
    (tmp_path / "base.cfg").write_text("# A comment.\n--beta=2.0\n--notensorboard\n--seed=1\n")
    (tmp_path / "top.cfg").write_text(
        f"--flagfile={tmp_path / 'base.cfg'}\n--baseline\n--beta=1.0\n--strategies=\n"
    )
    assert flagfile_values(tmp_path / "top.cfg") == {
        "beta": "1.0",
        "tensorboard": "false",
        "seed": "1",
        "baseline": "true",
        "strategies": "",
    }
