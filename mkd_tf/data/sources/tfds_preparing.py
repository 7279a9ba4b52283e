"""Finds or prepares a set of tensorflow-datasets, within limits of time.

tfds repeats a failing download for minutes, and waits for ever for a server that stops
sending. Here every address is tried first, and pauses in a download are limited.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.addresses import refusal
from mkd_tf.checks import MkdError, fail

_PROBE_S = 20.0  # for all addresses together
_PAUSE_S = 30.0


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or "tensorflow_datasets" not in record.pathname


def quiet_tfds() -> None:
    """Silences what tfds tells, through absl's logger, of every file that it opens; safe to repeat."""
    logging.getLogger("absl").addFilter(_is_news)


def find_prepared(folder: Path) -> Path | None:
    """Returns the folder of the newest version in a set's `folder`; None if there is none."""
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    numbered = [v for v in versions if all(part.isdigit() for part in v.name.split("."))]
    return max(numbered, key=lambda v: [int(part) for part in v.name.split(".")], default=None)


def prepare(builder: Any, name: str, addresses: Sequence[str], way_out: str) -> None:
    """Downloads and prepares the set `name` of a tfds builder from `addresses`.

    Raises:
      MkdError: if an address does not answer, a download fails or pauses too long, or
        the downloaded files are not the expected ones; it ends with the advice `way_out`.
    """
    import tensorflow_datasets as tfds

    folder = Path(builder.data_dir).parent
    if got := refusal(addresses, _PROBE_S):
        expected = f"a prepared set in {folder} or a network to download it"
        fail(name, expected=expected, got=got, do=way_out)
    # There is no limit of time for requests to tfds's own store of prepared sets.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with _limited_pauses():
            builder.download_and_prepare(download_config=config, file_format="array_record")
    except Exception as error:  # requests, tfds, archives, disks: each has errors of its own
        text = " ".join(str(error).split())
        raise MkdError(
            f"{name}: expected to download and prepare it in {folder}, got {type(error).__name__}: "
            f"{text:.300}. Try again; what is complete is kept. {way_out}"
        ) from error


@contextlib.contextmanager
def _limited_pauses() -> Iterator[None]:
    """Makes tfds give up a download after `_PAUSE_S` without a byte, without ten repetitions."""
    from tensorflow_datasets.core.download import downloader

    opens, retries = downloader._open_url, downloader.MAX_RETRIES
    downloader._open_url = functools.partial(opens, timeout=_PAUSE_S)
    downloader.MAX_RETRIES = 1
    try:
        yield
    finally:
        downloader._open_url, downloader.MAX_RETRIES = opens, retries
