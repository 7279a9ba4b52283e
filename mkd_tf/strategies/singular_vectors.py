"""Singular vectors: the relation of two layers as that of their principal patterns over space.

A standardised map F `[cells, channels]` is U S V'. The k largest left singular vectors are
patterns over the cells, of unit length and common to networks of any width. With the
source's singular values s, of unit length too, and N cells,

    R[x, m, n] = exp(-N (s'_m u'_m[x] - s_n u_n[x])^2 / 2)

relates pattern n of the earlier layer and m of the later one at each cell x. The student's
patterns are first aligned: each pattern of the source gets the one of the student's k + 3
largest whose correlation with it is largest, with its sign. Under the foreground mask F is
weighted by the roots of the cells' weights, u divided by them, and N their sum.

Reference: Lee, Kim and Song, "Self-supervised Knowledge Distillation Using Singular Value
Decomposition", ECCV 2018, Sec. 3, and its code (k + 3, the alignment, the source's values on
both sides, a Gaussian of differences). Departures: the left vectors in place of the right
ones, whose length is the width, equal in the paper's networks; all pairs of patterns at a
cell where the code has all pairs of channels in a pattern; a kernel of width 1 for patterns
of variance 1, so that the term does not change with the size of the image.

Gradient: TensorFlow's gradient of an SVD contains 1 / (s_i^2 - s_j^2), infinite where two
values agree, as in every map of small rank; the authors drop what is not finite. Here the
eigenvectors of the smaller Gram matrix G are computed without gradient, and

    dv_i = sum_j v_j (v_j' dG v_i) g_ij / (g_ij^2 + e^2),    g_ij = l_i - l_j

is added to them, which is first-order perturbation theory with gaps g broadened by e:
exact where eigenvalues are apart, and bounded everywhere.

The source's vectors need no gradient, and of a wide map only the largest: they are found by
subspace iteration with a few columns more than are asked for (Halko, Martinsson and Tropp,
"Finding Structure with Randomness", SIAM Review 2011, Alg. 4.4), which takes products of
matrices where a decomposition of all of G takes n^3.
"""

import numpy as np
from keras import ops

from mkd_tf.detection.types import Array, Float, PerExample

CANDIDATES = 3
"""How many more patterns of the student than of the source may be aligned."""
BROADENING = 1e-3
"""e above, as a share of the sum of all eigenvalues."""
OVERSAMPLED = 8
"""Columns of the subspace beyond the vectors that are asked for."""
ROUNDS, PRODUCTS = 2, 4
"""Of the iteration, and products by G in each: what is left of a vector outside the subspace falls
with the 8th power of the ratio of its eigenvalue to the smallest that is asked for."""


def eigenvectors(
    products: Float[Array, "batch n n"], count: int
) -> tuple[Float[Array, "batch k"], Float[Array, "batch n k"]]:
    """Returns the largest eigenvalues, as shares of their sum, and their vectors, largest first.

    Args:
      products: symmetric, no eigenvalue below 0.
      count: k, at most n.
    """
    trace = ops.sum(ops.diagonal(products, axis1=1, axis2=2), axis=-1)[:, None, None]
    products = products / (ops.stop_gradient(trace) + 1e-12)
    fixed = ops.stop_gradient(products)
    # What is not finite shows in the loss; the decomposition would raise an error of its own.
    values, vectors = ops.eigh(ops.where(ops.isfinite(fixed), fixed, 0.0))
    largest = [ops.flip(x[..., -count:], axis=-1) for x in (values, vectors)]
    gaps = largest[0][:, None, :] - values[:, :, None]
    change = ops.matmul(ops.transpose(vectors, (0, 2, 1)), ops.matmul(products - fixed, largest[1]))
    turn = ops.matmul(vectors, change * gaps / (ops.square(gaps) + BROADENING**2))
    return largest[0], largest[1] + turn


def leading_eigenvectors(
    products: Float[Array, "batch n n"], count: int
) -> tuple[Float[Array, "batch k"], Float[Array, "batch n k"]]:
    """Returns what `eigenvectors` does, without a gradient; of a large matrix by subspace iteration."""
    side, columns = products.shape[-1], count + OVERSAMPLED
    products = ops.stop_gradient(products)
    if side <= 3 * columns:
        return eigenvectors(products, count)
    trace = ops.sum(ops.diagonal(products, axis1=1, axis2=2), axis=-1)[:, None, None]
    products = products / (trace + 1e-12)
    products = ops.where(ops.isfinite(products), products, 0.0)
    start = np.linalg.qr(np.random.default_rng(0).normal(size=(side, columns)))[0]
    basis = ops.convert_to_tensor(start.astype("float32"))
    for _ in range(ROUNDS):
        for _ in range(PRODUCTS):
            basis = ops.matmul(products, basis)
        basis = ops.qr(basis)[0]
    inside = ops.matmul(ops.transpose(basis, (0, 2, 1)), ops.matmul(products, basis))
    values, turn = ops.eigh(inside)
    values, turn = (ops.flip(x[..., -count:], axis=-1) for x in (values, turn))
    # As above: what is not finite shows in the loss.
    broken = 0.0 * trace
    return values + broken[..., 0], ops.matmul(basis, turn) + broken


def patterns(
    cells: Float[Array, "batch cells c"], count: int, is_fixed: bool = False
) -> tuple[Float[Array, "batch k"], Float[Array, "batch cells k"]]:
    """Returns singular values (of unit length together) and left singular vectors, largest first.

    A vector of almost no energy, below 1e-3 of the largest value, becomes 0.

    Args:
      cells: of a standardised map.
      count: k, at most the smaller side of the map.
      is_fixed: whether no gradient is asked for.
    """
    decomposed = leading_eigenvectors if is_fixed else eigenvectors
    across = ops.transpose(cells, (0, 2, 1))
    if cells.shape[1] <= cells.shape[2]:
        values, left = decomposed(ops.matmul(cells, across), count)
        left = left * ops.stop_gradient(ops.sqrt(ops.maximum(values, 0.0)))[:, None, :]
    else:
        values, right = decomposed(ops.matmul(across, cells), count)
        left = ops.matmul(cells, right)
    lengths = ops.sum(ops.square(left), axis=1, keepdims=True)
    least = 1e-6 * ops.stop_gradient(ops.max(lengths, axis=-1, keepdims=True)) + 1e-12
    sizes = ops.sqrt(ops.maximum(values, 0.0))
    sizes = sizes / (ops.sqrt(ops.sum(ops.square(sizes), axis=-1, keepdims=True)) + 1e-12)
    return sizes, left * ops.rsqrt(lengths + least)


def signed(vectors: Float[Array, "batch cells k"]) -> Float[Array, "batch cells k"]:
    """Returns vectors with the sign that makes their larger elements positive: a sum of cubes above 0."""
    return vectors * ops.where(ops.sum(vectors**3, axis=1, keepdims=True) < 0, -1.0, 1.0)


def aligned(
    ours: Float[Array, "batch cells j"], theirs: Float[Array, "batch cells k"]
) -> Float[Array, "batch cells k"]:
    """Returns for each vector of `theirs` the one of `ours` that correlates most with it, with its sign."""
    cosines = ops.stop_gradient(ops.matmul(ops.transpose(ours, (0, 2, 1)), theirs))
    chosen = ops.one_hot(ops.argmax(ops.abs(cosines), axis=1), ours.shape[-1], axis=1)
    return ops.matmul(ours, chosen * ops.where(cosines < 0, -1.0, 1.0))


def singular_relation_loss(
    ours: tuple[Float[Array, "batch cells _"], Float[Array, "batch cells _"]],
    theirs: tuple[Float[Array, "batch cells _"], Float[Array, "batch cells _"]],
    rank: int,
    weights: Float[Array, "batch cells 1"] | None = None,
) -> PerExample:
    """Returns the mean squared difference of the relations R of two pairs of layers, 0..1.

    Args:
      ours: standardised maps of the student's earlier and later layer.
      theirs: of the source's; all on one grid.
      rank: k; fewer where a map has fewer cells or channels.
      weights: of the cells, positive; or None for equal ones.
    """
    root = 1.0 if weights is None else ops.sqrt(weights)
    total = ops.sum(ops.ones_like(ours[0][..., :1]) * root**2, axis=1, keepdims=True)
    factors = []
    for student, source in zip(ours, theirs, strict=True):
        least = [min(x.shape[1], x.shape[2]) for x in (student, source)]
        sizes, modes = patterns(ops.stop_gradient(source) * root, min(rank, least[1]), is_fixed=True)
        modes = signed(modes)
        found = aligned(patterns(student * root, min(rank + CANDIDATES, least[0]))[1], modes)
        # Of variance 1 over space for a size of 1.
        scale = sizes[:, None, :] * ops.sqrt(total) / root
        factors.append((found * scale, modes * scale))
    (early, early_source), (late, late_source) = factors

    def relation(first: Array, second: Array) -> Array:
        return ops.exp(-ops.square(second[..., :, None] - first[..., None, :]) / 2)

    difference = relation(early, late) - ops.stop_gradient(relation(early_source, late_source))
    squared = ops.mean(ops.square(difference), axis=(2, 3))[..., None] * root**2
    return ops.sum(squared / total, axis=(1, 2))
