"""Asks addresses on the network before a download, which could wait for minutes or for ever."""

import threading
import urllib.error
import urllib.request
from collections.abc import Sequence


def refusal(addresses: Sequence[str], seconds: float) -> str | None:
    """Returns why one of the addresses cannot be downloaded from; None if all answer within `seconds`."""
    found: list[str | None] = []

    def ask() -> None:
        found.append(next(filter(None, (_refusal(address, seconds) for address in addresses)), None))

    # In a thread, because looking up a name has no limit of time.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"no answer from {addresses[0]} within {seconds:.0f} s"


def _refusal(address: str, seconds: float) -> str | None:
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 (http, from lists of addresses)
    try:
        with urllib.request.build_opener().open(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        # A server without HEAD has answered all the same.
        return None if error.code in (405, 501) else f"HTTP {error.code} from {address}"
    except OSError as error:
        return f"no answer from {address} ({getattr(error, 'reason', error)})"
