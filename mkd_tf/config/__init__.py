"""The configuration of a training run: one flag is made of every field."""

import dataclasses
from typing import Any

from mkd_tf.config.data import FLIPS, MIXED_IMAGES, AugmentationConfig, DataConfig
from mkd_tf.config.roles import TEACHER_GATES, TEACHER_VIEWS, CompressionConfig, RolesConfig
from mkd_tf.config.training import (
    BALANCE_MODES,
    LARGEST_SEED,
    SEEDS_PER_RUN,
    OptimizerConfig,
    RunConfig,
    TaskConfig,
)

__all__ = [
    "BALANCE_MODES",
    "FLIPS",
    "LARGEST_SEED",
    "MIXED_IMAGES",
    "SEEDS_PER_RUN",
    "TEACHER_GATES",
    "TEACHER_VIEWS",
    "AugmentationConfig",
    "CompressionConfig",
    "Config",
    "DataConfig",
    "OptimizerConfig",
    "RolesConfig",
    "RunConfig",
    "TaskConfig",
    "from_values",
    "options",
    "to_values",
]


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a training run depends on."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    roles: RolesConfig = dataclasses.field(default_factory=RolesConfig)
    compression: CompressionConfig = dataclasses.field(default_factory=CompressionConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)


_GROUPS: dict[str, Any] = {field.name: field.default_factory for field in dataclasses.fields(Config)}


def options() -> dict[str, dataclasses.Field]:
    """Returns every option of a training run by its flag name; names are unique across the groups."""
    return {field.name: field for group in _GROUPS.values() for field in dataclasses.fields(group)}


def from_values(values: dict[str, Any]) -> Config:
    """Builds a `Config` from option values by name; those not named keep their default.

    Raises:
      MkdError: if a value is out of its range.
    """
    groups = {}
    for name, group in _GROUPS.items():
        names = [f.name for f in dataclasses.fields(group) if f.name in values]
        groups[name] = group(**{n: values[n] for n in names})
    return Config(**groups)


def to_values(config: Config) -> dict[str, Any]:
    """The inverse of `from_values`: every option's value by name."""
    return {name: value for group in dataclasses.asdict(config).values() for name, value in group.items()}
