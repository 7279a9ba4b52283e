"""Starts: what the weights of a network are before its first step, one way per file.

Every start gives a small detector knowledge of a larger, trained one; the table is
what `--start` names, several joined by a plus.
"""

from mkd_tf.registry import Table
from mkd_tf.starts.base import Inherited, Start
from mkd_tf.starts.fresh import Fresh
from mkd_tf.starts.imitation import Imitation
from mkd_tf.starts.importance import Importance
from mkd_tf.starts.least_squares import LeastSquares
from mkd_tf.starts.uniform import Uniform

STARTS = Table(
    "start",
    {
        "uniform": Uniform,
        "importance": Importance,
        "least_squares": LeastSquares,
        "imitation": Imitation,
        "fresh": Fresh,
    },
)

__all__ = ["STARTS", "Fresh", "Imitation", "Importance", "Inherited", "LeastSquares", "Start", "Uniform"]
