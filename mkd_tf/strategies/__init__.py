"""Strategies: one kind of knowledge per file, all on the contract of `strategies.base`."""

from mkd_tf.registry import Table
from mkd_tf.strategies.attention_map import AttentionMap
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.cross_head import CrossHead
from mkd_tf.strategies.exploration import Exploration
from mkd_tf.strategies.hint import Hint
from mkd_tf.strategies.keras_losses import KerasDistillation, as_strategy
from mkd_tf.strategies.layer_relation import LayerRelation
from mkd_tf.strategies.localization import Localization
from mkd_tf.strategies.soft_targets import SoftBoxes, SoftClasses

STRATEGIES: Table[Strategy] = Table(
    "strategy",
    {
        "soft_classes": SoftClasses,
        "soft_boxes": SoftBoxes,
        "localization": Localization,
        "layer_relation": LayerRelation,
        "attention_map": AttentionMap,
        "hint": Hint,
        "cross_head": CrossHead,
        "exploration": Exploration,
    },
)

__all__ = [
    "STRATEGIES",
    "Port",
    "Strategy",
    "AttentionMap",
    "CrossHead",
    "Exploration",
    "Hint",
    "KerasDistillation",
    "LayerRelation",
    "Localization",
    "SoftBoxes",
    "SoftClasses",
    "as_strategy",
]
