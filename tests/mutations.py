"""Mutations of files: bits and bytes of any, values of JSON, numbers of text."""

import json
import random
import re
from typing import Any

_DEEP = 3000
STRANGE: tuple[Any, ...] = (
    *(None, True, "", " ", "x" * 1000, "\ud800", "/etc/passwd", "http://127.0.0.1:9/x", [], {}, [[]]),
    *(0, -1, 1e308, -1e-308, 2**31, 2**63, 10**400, 0.5, "nan", "1e999", [None], {"a": None}),
)
WORDS = ("NaN", "Infinity", "-1", "1e999", "9" * 5000, "null", '""', "[" * _DEEP, "{" * _DEEP, "(" * _DEEP)
WORDS += ("-" * 5000, "'", "\x00", "\r", "..", "%s", "--flagfile=a.cfg", "\u2028")
_TOKEN = re.compile(rb"[A-Za-z0-9_.+-]+")


def chance(seed: int) -> random.Random:
    """Returns what chooses a mutation: the same for the same seed."""
    return random.Random(seed)  # noqa: S311 (no secret)


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Returns `content` with one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_KINDS)(rng, content)
    return content


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\x00")
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(8 * len(changed))
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def _cut(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(rng.randint(0, len(content)) for _ in range(2))
    return rng.choice((content[:end], content[start:], content[:start] + content[end:]))


def _repeat(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:end] + content[start:end] * rng.choice((1, 2, 20)) + content[end:]


def _insert(rng: random.Random, content: bytes) -> bytes:
    place = rng.randint(0, len(content))
    return content[:place] + rng.randbytes(rng.choice((1, 4, 64))) + content[place:]


def _word(rng: random.Random, content: bytes) -> bytes:
    tokens = list(_TOKEN.finditer(content))
    if not tokens:
        return content + rng.choice(WORDS).encode()
    token = rng.choice(tokens)
    return content[: token.start()] + rng.choice(WORDS).encode() + content[token.end() :]


def _value(rng: random.Random, content: bytes) -> bytes:
    """Replaces, removes or adds a value of JSON."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return _word(rng, content)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                walk(value[key])

    if isinstance(whole, (dict, list)):
        walk(whole)
    if not places or rng.random() < 0.05:
        return json.dumps(rng.choice(STRANGE)).encode()
    holder, key = rng.choice(places)
    if rng.random() < 0.2:
        del holder[key]
    elif isinstance(holder, dict) and rng.random() < 0.2:
        holder[str(rng.choice(STRANGE))[:50]] = holder.pop(key)
    else:
        holder[key] = rng.choice((*STRANGE, [holder[key]] * 50, str(holder[key])[:100]))
    return json.dumps(whole).encode()


_KINDS = (_flip, _flip, _cut, _repeat, _insert, _word, _word, _value, _value)
