"""Moments: correlations between the channels of maps, without making standardised maps.

With the weighted means m of the maps X and Y `[cells, c]` of one grid, the weights w of sum W,
and s the channels' deviations,

    cov(X, Y)   = (X - m_X)' diag(w) (Y - m_Y) / W
    corr(X, Y)  = cov(X, Y) / (s_X s_Y')

A 1x1 convolution without bias mixes the channels of every cell alike, and so

    cov(X K, Y L) = K' cov(X, Y) L

which is why the map of a wider adapter is never made: not forward, and not backward. A
narrower one is, being the smaller of the two.

The deviations are those of `maps.standardize`, `sqrt(var + 1e-6 e + 1e-12)` with the map's mean
square e, so that every value is the one of standardised maps.
"""

import copy

from keras import ops

from mkd_tf.detection.types import Array, Float


class Channels:
    """The channels of a map as standardised variables over its cells.

    >>> import numpy as np
    >>> rising, kernel = np.float32([[[1], [2], [4]]]), np.float32([[2, -3]])
    >>> mixed = Channels(rising, kernel=kernel)  # two channels of one
    >>> np.round(mixed.correlations(Channels(rising)), 3).tolist()
    [[[1.0], [-1.0]]]

    Attributes:
      variances: `[B, k]` of the standardised channels: 1, less where one is almost constant, 0 where it is.

    Args:
      cells: of a map.
      weights: of the cells, or None for equal ones.
      kernel: of a 1x1 convolution, whose k channels these are; None for those of the map.
    """

    def __init__(
        self,
        cells: Float[Array, "batch cells c"],
        weights: Float[Array, "#batch cells 1"] | None = None,
        kernel: Float[Array, "c _"] | None = None,
    ):
        cells = ops.cast(cells, "float32")
        if kernel is not None and kernel.shape[1] < kernel.shape[0]:
            cells, kernel = _by_kernel(cells, kernel), None
        self._kernel = kernel
        count = cells.shape[1]
        if weights is None:
            self._shares: Array | None = None
            mean = plain_mean = ops.mean(cells, axis=1, keepdims=True)
        else:
            self._shares = weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-6)
            # Both means in one product, which makes no weighted map.
            self._both = ops.transpose(
                ops.concatenate([self._shares, ops.full_like(self._shares, 1.0 / count)], axis=-1), (0, 2, 1)
            )
            mean, plain_mean = ops.split(ops.matmul(self._both, cells), 2, axis=1)
        # Moments of centred maps do not change with the means: no gradient to be summed up.
        mean, plain_mean = ops.stop_gradient(mean), ops.stop_gradient(plain_mean)
        self.centred = cells - mean
        variance, plain = self._second_moments()
        # The mean square of the map, whose cells weigh the same: E(x^2) = E(x - m)^2 + 2 m E(x) - m^2.
        rest = ops.concatenate([mean, plain_mean], axis=1)
        rest = rest if kernel is None else ops.matmul(rest, kernel)
        energy = plain + 2 * rest[:, 0] * rest[:, 1] - ops.square(rest[:, 0])
        energy = ops.stop_gradient(ops.mean(energy, axis=1, keepdims=True))
        self._scales = ops.rsqrt(variance + 1e-6 * energy + 1e-12)
        self.variances = variance * ops.square(self._scales)

    def _second_moments(self) -> tuple[Float[Array, "batch k"], Float[Array, "batch k"]]:
        """Returns the variances, and the mean squared distances from the means of equally weighted cells."""
        if self._kernel is not None:
            variance = ops.relu(_quadratic(self._products(self), self._kernel))
            if self._shares is None:
                return variance, variance
            cells = ops.stop_gradient(self.centred)
            products = _across(cells, cells) / cells.shape[1]
            return variance, _quadratic(products, ops.stop_gradient(self._kernel))
        squares = ops.square(self.centred)
        if self._shares is None:
            variance = ops.mean(squares, axis=1)
            return variance, variance
        found = ops.matmul(self._both, squares)
        return found[:, 0], found[:, 1]

    def _products(self, other: "Channels") -> Float[Array, "batch c d"]:
        """Returns the covariances of the maps' own channels."""
        ours, theirs = self.centred, other.centred
        if self._shares is None:
            return _across(ours, theirs, other is self) / ours.shape[1]
        # The narrower map is weighted: that is the cheaper one.
        if ours.shape[-1] < theirs.shape[-1]:
            return _across(ours * self._shares, theirs)
        return _across(ours, theirs * self._shares, other is self)

    def correlations(self, other: "Channels") -> Float[Array, "batch k l"]:
        """Returns the correlation of each channel with each of a map on the same grid, with the same weights.

        Of a map with itself the gradient is right for what depends on them symmetrically.
        """
        found = self._products(other)
        if self._kernel is not None:
            found = ops.transpose(_by_kernel(ops.transpose(found, (0, 2, 1)), self._kernel), (0, 2, 1))
        found = found * self._scales[:, :, None]
        if other._kernel is not None:
            found = _by_kernel(found, other._kernel)
        return found * other._scales[:, None, :]

    def paired(self, other: "Channels") -> Float[Array, "batch k"]:
        """Returns the correlation of each channel with the one of its number in a map without kernel."""
        kernel = ops.eye(other.centred.shape[-1]) if self._kernel is None else self._kernel
        return ops.sum(self._products(other) * kernel, axis=1) * self._scales * other._scales

    def distance(self, other: "Channels", correlations: Float[Array, "batch k l"]) -> Float[Array, " batch"]:
        """Returns the mean squared difference of the channels' correlations, and given ones.

        With R = A' C B, of a mixing A and B and the covariances C of fewer channels,
        `|R - T|^2 = <A A' C, C B B'> - 2 <C, A T B'> + |T|^2`: R, which is as wide as T, is not made.
        """
        if self._kernel is None or other._kernel is None:
            return ops.mean(ops.square(self.correlations(other) - correlations), axis=(1, 2))
        products = self._products(other)
        mixings = [x._kernel * x._scales[:, None, :] for x in (self, other)]
        ours, theirs = (
            _across(ops.transpose(m, (0, 2, 1)), ops.transpose(m, (0, 2, 1)), True) for m in mixings
        )
        own = ops.matmul(ours, products) * ops.matmul(products, theirs)
        goal = ops.matmul(ops.matmul(mixings[0], correlations), ops.transpose(mixings[1], (0, 2, 1)))
        given = ops.sum(ops.square(correlations), axis=(1, 2))
        total = ops.sum(own - 2 * products * goal, axis=(1, 2)) + given
        return total / (correlations.shape[1] * correlations.shape[2])

    def mixed(self, kernel: Float[Array, "k l"]) -> Float[Array, "batch cells l"]:
        """Returns the standardised channels of a map without kernel, mixed by a 1x1 convolution."""
        return ops.matmul(self.centred, self._scales[:, :, None] * kernel)

    def mirrored(self, grid: tuple[int, ...], axes: tuple[int, ...]) -> "Channels":
        """Returns the channels of the map mirrored along axes of `[B, h, w, c]`; its cells weigh the same."""
        found = copy.copy(self)
        maps = ops.reshape(self.centred, (-1, *grid, self.centred.shape[-1]))
        found.centred = ops.reshape(ops.flip(maps, axes), (-1, *self.centred.shape[1:]))
        return found


def _across(
    first: Float[Array, "batch n c"], second: Float[Array, "batch n d"], is_square: bool = False
) -> Float[Array, "batch c d"]:
    """Returns the sums over n of all products; `is_square` if they are of one map, and used symmetrically."""
    if not is_square:
        return ops.matmul(ops.transpose(first, (0, 2, 1)), second)
    # Both factors' gradients are equal then: twice that of one of them.
    found = ops.matmul(ops.transpose(ops.stop_gradient(first), (0, 2, 1)), second)
    return 2 * found - ops.stop_gradient(found)


def _by_kernel(rows: Float[Array, "batch n c"], kernel: Float[Array, "c k"]) -> Float[Array, "batch n k"]:
    """Returns the product as one of two matrices: of many small ones each has its own price."""
    found = ops.matmul(ops.reshape(rows, (-1, rows.shape[2])), kernel)
    return ops.reshape(found, (-1, rows.shape[1], kernel.shape[1]))


def _quadratic(products: Float[Array, "batch c c"], kernel: Float[Array, "c k"]) -> Float[Array, "batch k"]:
    return ops.sum(_by_kernel(products, kernel) * kernel, axis=1)
