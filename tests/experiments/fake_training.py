"""What a training leaves behind, made in a fraction of a second: `python fake_training.py --flag=value ...`.

Its figures depend on the flags alone. It works in small steps that are kept, holds the work
directory's lock as training does, and ends with status 3 when a flag says so.
"""

import fcntl
import hashlib
import json
import os
import sys
import time
from pathlib import Path


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content), encoding="utf-8")
    os.replace(part, path)


def entry(flags: dict[str, str], role: str) -> dict:
    """Returns a role's figures: pseudo-random, the same for the same flags."""
    kept = {n: v for n, v in flags.items() if n not in ("workdir", "teacher_weights", "guide_weights")}
    digest = hashlib.sha256(json.dumps([role, sorted(kept.items())]).encode()).digest()
    metrics = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "VOC_AP", "VOC07_AP")
    figures = {name: digest[i] / 256 * 60 for i, name in enumerate(metrics)}
    counts = {"parameters": 1000, "macs": 10, "image_size": 64, "epochs": 1, "steps": 10}
    return figures | counts | {"per_class": {}, "seconds": time.monotonic() % 100, "split": "test"}


def main(arguments: list[str]) -> int:
    """Trains nothing, and writes what training writes."""
    flags = dict(argument[2:].split("=", 1) for argument in arguments)
    folder = Path(flags["workdir"])
    handle = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (held to the end)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("error: another process is using this work directory.", file=sys.stderr)
        return 1
    given = [role for role in ("teacher", "guide") if f"{role}_weights" in flags]
    for role in given:
        if not Path(flags[f"{role}_weights"]).is_file():
            return 4
    if flags.get("beta") == "666":
        print("error: a loss that is not finite", file=sys.stderr)
        return 3
    roles, pause = {}, float(os.environ.get("FAKE_PAUSE", "0.01"))
    for role in ("teacher", "guide", "student"):
        if role == "guide" and flags.get("guide") == "none":
            continue
        steps = folder / role / "steps"
        steps.parent.mkdir(parents=True, exist_ok=True)
        while not (folder / role / "done.json").exists():
            done = int(steps.read_text() or 0) if steps.exists() else 0
            if role in given or done == 5:
                (folder / role / "best.keras").write_text("weights")
                _write(folder / role / "done.json", entry(flags, role))
            else:
                time.sleep(pause)
                steps.write_text(str(done + 1))
        roles[role] = json.loads((folder / role / "done.json").read_text())
        _write(folder / "results.json", {"schema": 1, "roles": roles, "files": {}})
        if os.environ.get("FAKE_PROBE"):
            with open(os.environ["FAKE_PROBE"], "a", encoding="utf-8") as probe:
                print(role, folder.name, os.environ.get("OMP_NUM_THREADS"), file=probe)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
