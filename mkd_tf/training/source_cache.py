"""What frozen networks say of augmented images, kept for the time that these images come back.

On a CPU the teacher's forward pass is more than half of a step of the defaults (docs/performance.md).
With `--teacher_cache=K` an image has K augmentations at a time, each used `reuse.TIMES` times
(`data.pipeline.reuse`): the sources compute at the first, and their outputs are read at the others.

Kept are the outputs that a strategy reads, in float16, in a file of the stage's folder, which is
removed when the stage ends. The file begins with a hash of all that its content depends on: the
networks' weights, the images, the augmentation and the outputs. Another one empties it. A record
holds its own checksum; one that is torn, or another augmentation's, is not there. So it does
not matter when a run is killed, and one that goes on reads what it had written.
"""

import hashlib
import logging
import math
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.checks import check_no_clash, fail
from mkd_tf.config import Config
from mkd_tf.data.pipeline.canvas_file import CanvasFile
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.outputs import outputs_of, port_of
from mkd_tf.training.arrays import digest_of
from mkd_tf.training.backup import arrays_of
from mkd_tf.training.images import Images

_LOGGER = logging.getLogger(__name__)
_NAME = "source_cache"
_MAGIC = b"mkd_tf source cache 1\n"
_RECORD = struct.Struct("<qI4x")
"""Before the outputs of an image: the generation of its augmentation plus 1, and their CRC-32."""
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


def check_cache(config: Config) -> None:
    """Raises `MkdError` for options that do not go with `--teacher_cache`."""
    augmentation, count = config.augmentation, config.roles.teacher_cache
    if not count:
        return
    clashes = {
        f"--distribution={config.run.distribution}": config.run.distribution != "none",
        "--mosaic": augmentation.mosaic > 0,
        "--mixup": augmentation.mixup > 0,
    }
    check_no_clash(f"teacher_cache {count}", "images that come back as they were, on one machine", clashes)


def forget(folder: Path) -> None:
    """Removes what a stage has kept in its folder."""
    (folder / _NAME).unlink(missing_ok=True)


def what_terms_read(distiller: Distiller, batch: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the names of the outputs that strategies read of each network that does not learn.

    Args:
      distiller: whose terms are traced, not computed.
      batch: the specs of a training batch, as in `tf.data.Dataset.element_spec`.
    """
    count = batch["images"].shape[0]
    networks = distiller.sources | distiller.learners
    specs = {
        role: {
            name: tf.TensorSpec((count, *shape), tf.float32)
            for name, shape in port_of(network).shapes.items()
        }
        for role, network in networks.items()
    }
    read: dict[str, list[str]] = {}

    @tf.function(autograph=False)
    def trace(outputs: dict[str, dict[str, tf.Tensor]], targets: Any, given: Any) -> None:
        distiller.objective.terms(given | outputs, targets)
        distiller.objective.observe(given | outputs)
        for role in distiller.sources:
            read[role] = [name for name, tensor in sorted(outputs[role].items()) if tensor.consumers()]

    trace.get_concrete_function(specs, batch["targets"], batch.get("answers", {}))
    return {role: names for role, names in read.items() if names}


class SourceCache:
    """Adds the sources' outputs to batches; computes those that it does not hold.

    Args:
      path: of the file; what is in it stays if it has the same `key`.
      key: of all that the outputs depend on.
      indices: of the images that may come.
      slots: augmentations of an image that are kept at a time.
      shapes: of the outputs of an image, by role and name.
      compute: returns the outputs `{role: {name: [B, ...]}}` of images `[B, S, S, 3]`.

    Raises:
      OSError: if the file cannot be made.

    Attributes:
      bytes: of the file when it is full.
      computed: how many batches had an image that was not there.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        indices: np.ndarray,
        slots: int,
        shapes: Shapes,
        compute: Callable[[tf.Tensor], Mapping[str, Mapping[str, tf.Tensor]]],
    ):
        self._order = [(role, name) for role in sorted(shapes) for name in sorted(shapes[role])]
        self._shapes = [shapes[role][name] for role, name in self._order]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self._slots, self._compute = slots, compute
        rows = np.unique(indices)
        self._row = {int(index): row for row, index in enumerate(rows)}
        self._bytes = _RECORD.size + 2 * sum(self._sizes)
        layout = f"{key} {self._bytes} {slots} {rows.tolist()}"
        self._head = _MAGIC + hashlib.sha256(layout.encode()).digest()
        self.bytes = len(self._head) + len(self._row) * slots * self._bytes
        self.computed = 0
        self._lock, self._is_open = threading.Lock(), True
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, self._file)
        if os.pread(self._file, len(self._head), 0) != self._head:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, self.bytes)  # a hole: blocks are taken when written
            os.pwrite(self._file, self._head, 0)

    def answered(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the batches with the outputs under `answers`, instead of their `views`."""

        @tf.autograph.experimental.do_not_convert
        def answered(batch: dict[str, Any]) -> dict[str, Any]:
            images, views = batch["images"], batch["views"]
            found = tf.numpy_function(self._outputs, [images, views], tf.float16)
            found = tf.ensure_shape(found, (images.shape[0], sum(self._sizes)))
            answers: dict[str, dict[str, tf.Tensor]] = {}
            parts = zip(self._order, self._shapes, tf.split(found, self._sizes, axis=1), strict=True)
            for (role, name), shape, part in parts:
                answers.setdefault(role, {})[name] = tf.reshape(part, (images.shape[0], *shape))
            rest = {name: value for name, value in batch.items() if name != "views"}
            return rest | {"answers": rest.get("answers", {}) | answers}

        return batches.map(answered, num_parallel_calls=2, deterministic=True).prefetch(2)

    def _outputs(self, images: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Returns the outputs of a batch, one row `[sum of sizes]` float16 for each image."""
        found = np.empty((len(views), sum(self._sizes)), np.float16)
        missing = [i for i, view in enumerate(views.tolist()) if not self._read(view, found[i])]
        if missing:
            self.computed += 1
            # The whole batch: an image's outputs are the same then, whichever of it are missing.
            outputs = self._compute(tf.constant(images))
            limit = np.finfo(np.float16).max
            made = np.concatenate(
                [
                    np.clip(np.asarray(outputs[role][name]), -limit, limit).reshape(len(views), -1)
                    for role, name in self._order
                ],
                axis=1,
            ).astype(np.float16)
            for i in missing:
                found[i] = made[i]
                self._write(views[i].tolist(), made[i])
        return found

    def _place(self, view: list[int]) -> int:
        index, slot, _ = view
        return len(self._head) + (self._row[index] * self._slots + slot) * self._bytes

    def _read(self, view: list[int], row: np.ndarray) -> bool:
        """Reads the outputs of an image into `row`; false if they are not there."""
        record = os.pread(self._file, self._bytes, self._place(view))
        if len(record) < self._bytes:
            return False
        generation, checksum = _RECORD.unpack_from(record)
        if generation != view[2] + 1 or checksum != zlib.crc32(memoryview(record)[_RECORD.size :]):
            return False
        row[:] = np.frombuffer(record, np.float16, offset=_RECORD.size)
        return True

    def _write(self, view: list[int], row: np.ndarray) -> None:
        """Keeps the outputs of an image, unless the disk is full."""
        if not self._is_open:
            return
        content = row.tobytes()
        record = _RECORD.pack(view[2] + 1, zlib.crc32(content)) + content
        try:
            os.pwrite(self._file, record, self._place(view))
        except OSError as error:
            with self._lock:
                if self._is_open:
                    self._is_open = False
                    message = "the disk of kept answers is full (%s): what is not there is computed"
                    _LOGGER.warning(message, error.strerror)


def source_cache(
    role: str,
    distiller: Distiller,
    batch: Mapping[str, Any],
    images: Images,
    config: Config,
    folder: Path,
    say: Callable[[str], None],
) -> SourceCache | None:
    """Returns the cache of a stage, None where no network that does not learn is read.

    Args:
      role: that the stage trains.
      distiller: of the stage.
      batch: the specs of its batches.
      images: that it trains on.
      config: of the run.
      folder: of the stage.
      say: prints a line.

    Raises:
      MkdError: if the disk has no room.
    """
    read = what_terms_read(distiller, batch)
    if not read:
        return None
    networks = {name: distiller.sources[name] for name in read}
    ports = {name: port_of(network) for name, network in networks.items()}
    shapes = {
        name: {output: ports[name].shape(output) for output in outputs} for name, outputs in read.items()
    }

    @tf.function(autograph=False)
    def compute(batch: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        found = outputs_of(networks, batch, training=False)
        return {name: {output: found[name][output] for output in read[name]} for name in read}

    indices = np.concatenate([stream.indices for stream in images.streams(role)])
    slots = config.roles.teacher_cache
    key = hashlib.sha256(f"{sorted(shapes.items())} {config.augmentation} {config.run.seed}".encode())
    key.update(f"{images.image_size} {images.store.digest()} {images.store.content_digest()}".encode())
    for name in sorted(networks):
        key.update(_weights_of(networks[name]))
    try:
        cache = SourceCache(folder / _NAME, key.hexdigest(), indices, slots, shapes, compute)
    except OSError as error:
        do = "Choose another --workdir, or --teacher_cache=0."
        fail(f"{folder / _NAME}", expected="a file that can be written", got=str(error.strerror), do=do)
    if not CanvasFile.has_room(folder, cache.bytes):
        forget(folder)
        fail(
            f"teacher_cache {slots}",
            expected=f"twice {cache.bytes / 2**30:.2f} GiB of free disk in {folder}",
            got="less",
            do="Make room, choose another --workdir, or lower --teacher_cache; 0 keeps nothing.",
        )
    kept = "; ".join(f"{', '.join(outputs)} of the {name}" for name, outputs in read.items())
    say(
        f"{role}: kept for {slots} augmentations of each of {len(np.unique(indices))} images: {kept}; "
        f"{cache.bytes / 2**20:.0f} MiB while it trains"
    )
    return cache


def _weights_of(network: keras.layers.Layer) -> bytes:
    """Returns the file that a network runs, or a hash of its weights."""
    return getattr(network, "content", b"") or digest_of(arrays_of({"network": network.variables})).encode()
