"""The contract of a strategy: what one network imitates of another.

A strategy is a `keras.layers.Layer`. `connect(ports)` gives it the static shapes of
the networks' outputs, from which it makes its adapters; `call(outputs, targets)`
returns its term, `[B]` float32. Every normaliser and standardisation is per example,
so the term does not change with the batch or the number of replicas.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import keras

from mkd_tf.checks import check_fraction, check_one_of, fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.precision import LayerPrecision
from mkd_tf.detection.types import Array, Arrays, ArraysByRole, Bool, PerExample

SOURCES = ("teacher", "guide", "best")
"""What a strategy may imitate; `best` is the more confident of teacher and guide, per anchor."""
GUARD_PERIOD = 20
"""Steps between two measurements of the terms' gradients, in each of which every term is computed."""
IMAGES = ("all", "labelled", "unlabelled")
"""Images on which a term acts: labelled ones have a human's labels, not a teacher's boxes."""


@dataclasses.dataclass(frozen=True, eq=False)
class Port:
    """The static description of a network that strategies are connected to.

    Attributes:
      shapes: static shape of each output without the batch: `(h, w, c)` or `(N, x)`.
      anchors: one anchor per location of the predictions.
      head: makes the function from maps of the given taps to `class_logits` and
        `box_encodings`, or fails where they do not follow from these; None for no head.
    """

    shapes: Mapping[str, tuple[int, ...]]
    anchors: Anchors
    head: Callable[[Sequence[str]], Callable[[Sequence[Array]], Arrays]] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes, without a background."""
        return self.shapes["class_logits"][-1]

    def shape(self, output: str) -> tuple[int, ...]:
        """Returns the static shape of an output.

        Raises:
          MkdError: if the network has none of that name.
        """
        if output not in self.shapes:
            do = "Name taps as in taps=('C3', 'C4')."
            fail("taps of a strategy", expected=f"some of {', '.join(self.shapes)}", got=repr(output), do=do)
        return self.shapes[output]


class Strategy(keras.layers.Layer):
    """One kind of knowledge that `target` imitates of `source`; the base of every strategy.

    >>> from keras import ops
    >>> class Evidence(Strategy):
    ...     def call(self, outputs, targets):
    ...         totals = {role: ops.sum(found["class_logits"], (1, 2)) for role, found in outputs.items()}
    ...         return ops.square(totals[self.target] - ops.stop_gradient(totals[self.source]))
    >>> logits = {"teacher": ops.ones((2, 5, 3)), "student": ops.zeros((2, 5, 3))}
    >>> strategy = Evidence(weight=0.1)
    >>> ops.convert_to_numpy(strategy({role: {"class_logits": z} for role, z in logits.items()}, {})).tolist()
    [225.0, 225.0]

    Attributes:
      sources: roles that may be the source.
      options: the class's own constructor arguments, which its files hold.
      from_detections: whether a source that only answers with detections is enough.

    Args:
      weight: factor of the term in the total.
      source: role that is imitated: `teacher` or `guide`, or `best` of both where the
        strategy compares predictions (`sources`).
      target: role that imitates.
      rise: fraction of the run over which the weight rises from 0, from `start` on.
      fall: fraction of the run over which the weight falls to 0, before `end`.
      start: fraction of the run at which the term begins; before it the weight is 0.
      end: fraction of the run at which the term ends; from it on the weight is 0.
      every: steps from one that computes the term to the next, a divisor of 20. Its gradient
        counts that many times there ("lazy regularization", Karras et al., CVPR 2020,
        sec. 3.1), so that its mean is that of `every=1` at a fraction of the cost.
      images: those on which the term acts, `all`, `labelled` or `unlabelled`. On the others
        it is 0; it stays a mean over the whole batch.
      name: under which the term is reported.
    """

    sources: tuple[str, ...] = ("teacher", "guide")
    options: tuple[str, ...] = ()
    from_detections: bool = False

    def __init__(
        self,
        weight: float = 1.0,
        source: str = "teacher",
        target: str = "student",
        rise: float = 0.0,
        fall: float = 0.0,
        start: float = 0.0,
        end: float = 1.0,
        every: int = 1,
        images: str = "all",
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32")
        check_one_of(f"source of {self.name}", source, self.sources)
        check_one_of(f"images of {self.name}", images, IMAGES)
        for argument, value in (("rise", rise), ("fall", fall), ("start", start), ("end", end)):
            check_fraction(f"{argument} of {self.name}", value)
        if not start < end:
            got = f"start={start}, end={end}"
            do = "Set for example end=0.3 for the first 30 % of the run."
            fail(f"phase of {self.name}", expected="a start before its end", got=got, do=do)
        if not (isinstance(every, int) and every > 0 and GUARD_PERIOD % every == 0):
            expected, do = f"a divisor of {GUARD_PERIOD}", "Set for example every=2 for every other step."
            fail(f"every of {self.name}", expected=expected, got=repr(every), do=do)
        if not (isinstance(weight, Real) and weight >= 0):
            do = "Use 0 to switch it off."
            fail(f"weight of {self.name}", expected="a number of 0 or more", got=repr(weight), do=do)
        self.weight: float = weight
        self.source: str = source
        self.target: str = target
        self.rise: float = rise
        self.fall: float = fall
        self.start: float = start
        self.end: float = end
        self.every: int = every
        self.images: str = images

    @property
    def is_always_due(self) -> bool:
        """Whether the term belongs to every step of a run."""
        return (self.start, self.end, self.every) == (0, 1, 1)

    @property
    def roles(self) -> tuple[str, ...]:
        """The networks that the source consists of."""
        return ("teacher", "guide") if self.source == "best" else (self.source,)

    def connect(self, ports: Mapping[str, Port]) -> None:
        """Creates what depends on the networks' shapes. Called once, before the first `call`.

        Raises:
          MkdError: if the source or target is missing, or nothing can be compared.
        """
        needed = [("source", role, "to learn from") for role in self.roles]
        for argument, role, purpose in (*needed, ("target", self.target, "that learns")):
            if role not in ports:
                expected, got = f"a {role} {purpose}", f"networks {', '.join(ports)}"
                do = f"Give a {role}, or another {argument}= to the strategy."
                fail(f"strategy {self.name}", expected=expected, got=got, do=do)
        if self.target in self.roles:
            expected, got = f"a target other than its source {self.source}", f"target {self.target}"
            do = "A network cannot learn from itself: set another source= or target=."
            fail(f"strategy {self.name}", expected=expected, got=got, do=do)
        with LayerPrecision():
            self._connect(ports[self.roles[0]], ports[self.target])
        self.built = True

    def _connect(self, source: Port, target: Port) -> None:
        """Overridden by strategies that create something."""

    def __call__(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        """Returns the term of `call`, 0 on images on which it does not act."""
        term = super().__call__(outputs, targets)
        if self.images == "all":
            return term
        return term * acts_on(self.images, targets[self.target], f"images of {self.name}")

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        """Returns the term of `outputs[role][name]` and `targets[role][name]`."""
        raise NotImplementedError

    def observing(self) -> Bool[Array, ""] | None:
        """Overridden with `observe`: whether the next step is observed; None for never any."""
        return None

    def observe(
        self, outputs: ArraysByRole, total: Callable[[Array], Array], is_now: Bool[Array, ""]
    ) -> None:
        """Overridden by strategies with statistics of the source, which are weights of theirs.

        Called once after the terms of a training step, never in evaluation.

        Args:
          outputs: of each network, by role.
          total: sums a tensor over the replicas.
          is_now: what `observing` returned; nothing changes otherwise.
        """

    def get_config(self) -> dict[str, Any]:
        names = ("weight", "source", "target", "rise", "fall", "start", "end", "every", "images", "name")
        return {name: getattr(self, name) for name in (*names, *self.options)}


def acts_on(images: str, targets: Arrays, where: str) -> PerExample:
    """Returns 1 for the examples among `images`, 0 for the others.

    Args:
      images: `labelled` or `unlabelled`.
      targets: of the network that learns; `labelled` `[B]` is 1 where a human's labels are.
      where: the argument that asks, for the message.

    Raises:
      MkdError: if the targets do not say which images are labelled.
    """
    if "labelled" not in targets:
        expected, got = "targets that say which images are labelled", f"targets {', '.join(targets)}"
        fail(where, expected=expected, got=got, do="Add labelled [B] float32 to them, or use all images.")
    return targets["labelled"] if images == "labelled" else 1.0 - targets["labelled"]
