"""The teacher of a run: one network or several, over one view or two."""

from collections.abc import Sequence
from pathlib import Path

from mkd_tf.checks import check_one_of, fail
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.ensemble import Ensemble
from mkd_tf.detectors.files import load_detector
from mkd_tf.detectors.flipped import VIEWS, Flipped


def assemble_teacher(
    networks: str | Path | Detector | Sequence[str | Path | Detector], views: str = "none"
) -> Detector:
    """Returns the detector that a run distils from.

    Args:
      networks: detectors or `.keras` files; a string may hold several files, separated
        by commas. More than one become an `Ensemble`.
      views: `none`; `flip` or `half_turn` for a second view of each image, see `Flipped`.

    Raises:
      MkdError: if a file cannot be read, or the networks differ in input, classes or anchors.

    Example:
      >>> import mkd_tf
      >>> network = mkd_tf.Tiny(64, ("cat", "dog"), size="fast")
      >>> mkd_tf.assemble_teacher(network, views="flip").name
      'tiny_flip'
    """
    check_one_of("teacher_views", views, ("none", *VIEWS))
    if isinstance(networks, str):
        networks = [part.strip() for part in networks.split(",") if part.strip()]
    elif isinstance(networks, (Path, Detector)):
        networks = [networks]
    if not networks:
        fail("teacher", expected="a network or a .keras file", got="none", do="Name at least one.")
    loaded = [n if isinstance(n, Detector) else load_detector(n) for n in networks]
    teacher = loaded[0] if len(loaded) == 1 else Ensemble(loaded)
    return teacher if views == "none" else Flipped(teacher, views)
