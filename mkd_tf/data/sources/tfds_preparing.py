"""Finds or prepares a set of tensorflow-datasets, within limits of time.

tfds repeats a failing download for minutes, and waits for ever for a server that stops
sending. Here every address is tried first, and pauses in a download are limited.
"""

import contextlib
import functools
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import MkdError

_PROBE_S = 20.0  # for all addresses together
_PAUSE_S = 30.0


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
    if refusal := _refusal(addresses):
        raise MkdError(
            f"{name}: expected a prepared set in {folder} or a network to download it, "
            f"got {refusal}. {way_out}"
        )
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


def _refusal(addresses: Sequence[str]) -> str | None:
    """Returns why one of the addresses cannot be downloaded from; None if all answer."""
    found: list[str | None] = []

    def ask() -> None:
        found.append(next(filter(None, map(_ask, addresses)), None))

    # In a thread, because looking up a name has no limit of time.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_S)
    return found[0] if found else f"no answer from {addresses[0]} within {_PROBE_S:.0f} s"


def _ask(address: str) -> str | None:
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 (http, from tfds's own list)
    try:
        with urllib.request.build_opener().open(request, timeout=_PROBE_S):
            return None
    except urllib.error.HTTPError as error:
        # A server without HEAD has answered all the same.
        return None if error.code in (405, 501) else f"HTTP {error.code} from {address}"
    except OSError as error:
        return f"no answer from {address} ({getattr(error, 'reason', error)})"


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
