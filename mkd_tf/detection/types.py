"""Types for annotations of arrays, in the form `Float[Array, "batch anchors 4"]`.

The names in the string are dimensions: one name has one size within a call. A single name
begins with a space, `" batch"`, or linters take it for a variable. The tests check every
call (`tests/typechecking.py`); in use nothing is checked.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from jaxtyping import Bool as Bool
from jaxtyping import Float as Float
from jaxtyping import Int as Int

Array: TypeAlias = Any
"""A NumPy array, or a tensor of any backend: in eager mode, in a graph, or symbolic."""
Arrays: TypeAlias = Mapping[str, Any]
"""Arrays by name: the outputs of one network, or its targets."""
ArraysByRole: TypeAlias = Mapping[str, Mapping[str, Any]]
"""`Arrays` of every network: teacher, guide and student."""

Scalar: TypeAlias = Float[Array, ""]
PerExample: TypeAlias = Float[Array, " batch"]
PerAnchor: TypeAlias = Float[Array, "batch anchors"]
Logits: TypeAlias = Float[Array, "batch anchors classes"]
Boxes: TypeAlias = Float[Array, "batch anchors 4"]
BinLogits: TypeAlias = Float[Array, "batch anchors 4 bins"]
Matched: TypeAlias = Float[Array, "... anchors"]
"""1 where a source has an anchor that matches the target's, else 0: `[N]` or `[B, N]`."""
Map: TypeAlias = Float[Array, "batch h w c"]
OtherMap: TypeAlias = Float[Array, "batch h w _"]
"""On the grid of a `Map`, of any number of channels."""
CellWeights: TypeAlias = Float[Array, "#batch h*w 1"]
"""Of the cells of a `Map`, row by row."""
