"""Starts: what the weights of a network are before its first step, one way per file.

Every start gives a small detector knowledge of a larger, trained one; the table is
what `--start` names.
"""

from mkd_tf.registry import Table
from mkd_tf.starts.base import Inherited, Start
from mkd_tf.starts.least_squares import LeastSquares
from mkd_tf.starts.uniform import Uniform

STARTS = Table(
    "start",
    {
        "uniform": Uniform,
        "least_squares": LeastSquares,
    },
)

__all__ = ["STARTS", "Inherited", "LeastSquares", "Start", "Uniform"]
