"""Aimed kills: one run is killed at one point after the other, and then equals one that was left alone.

    python -m tests.chaos                       # every configuration, some minutes each
    python -m tests.chaos learning voc          # some of them
    python -m tests.chaos --how=term frozen     # a signal in place of a kill; says how long it took
    python -m tests.chaos --hazards             # the clock goes back, memory is short, an image is removed

A point is the moment before a file gets its name (`>`), in which it is opened to be written
(`+`), or before it is removed (`-`), see `tests.faults`. Points come in the order of the run:
each start goes on where the one before was killed, and must reach its point.
"""

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import faults
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import VocMaker, object_xml
from tests.export import programs
from tests.programs.killing import FLAGS, NET, check_equal_runs

EPOCHS = ("--teacher_epochs=3", "--guide_epochs=2", "--student_epochs=2")
_BEGIN = (">images.sha256:1", ">flags.cfg:1")
_TEACHER = (
    *("+teacher/.history.csv:1", "+.arrays.npz:1", ">state.json:1", ">teacher/backup/epoch_000001:1"),
    *("+teacher/.best.part.keras:1", ">SHA256SUMS:1", ">teacher/backup/epoch_000003:1"),
    *(">teacher/last.keras:1", ">teacher/final.keras:1", ">teacher/best.keras:2", ">teacher/done.json:1"),
    *(">results.json:1", ">teacher/boxes.npz:1"),
)
_GUIDE = (">guide/history.csv:1", "+guide/.best.part.keras:1", ">guide/done.json:1")
_STUDENT = (
    ">student/history.csv:1",
    ">student/backup/epoch_000002:1",
    ">student/final.keras:1",
    ">student/done.json:1",
    ">examples.png:1",
)
_ALONE = (">student_alone/history.csv:1", ">student_alone/done.json:1")
_QAT = (">student_qat/stage.json:1", ">student_qat/backup/epoch_000001:1", ">student_qat/done.json:1")

CONFIGURATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "frozen": (
        (f"--guide={NET}", "--baseline", "--strategies=soft_classes, soft_boxes, layer_relation"),
        ("teacher", "guide", "student_alone", "student"),
        (*_BEGIN, *_TEACHER, *_GUIDE, *_ALONE, *_STUDENT),
    ),
    "learning": (
        (f"--guide={NET}", "--guide_mode=learning", "--strategies=soft_classes, hint(rise=0.2, fall=0.2)"),
        ("teacher", "student"),
        (*_BEGIN, *_TEACHER, *_STUDENT),
    ),
    "voc": (
        ("--dataset=voc", f"--guide={NET}", "--strategies=soft_classes"),
        ("teacher", "guide", "student"),
        (*_BEGIN, *_TEACHER, *_GUIDE, *_STUDENT),
    ),
    "coco": (
        ("--dataset=coco", "--nodeterministic", "--strategies=soft_classes"),
        ("teacher", "student"),
        (*_BEGIN, *_TEACHER, *_STUDENT),
    ),
    "compressed": (
        ("--compress=qat", "--compress_epochs=2", "--strategies=soft_classes"),
        ("teacher", "student", "student_qat"),
        (*_BEGIN, *_TEACHER, *_STUDENT[:-1], *_QAT),
    ),
    "replicas": (
        ("--distribution=mirrored", "--replicas=2", "--strategies=soft_classes"),
        ("teacher", "student"),
        (*_BEGIN, *_TEACHER, *_STUDENT),
    ),
}
"""Flags, roles and points by name."""


def start(workdir: Path, flags: Sequence[str], fault: str = "") -> tuple[int, str, float]:
    """Starts the training; returns its exit status, last line, and seconds from the fault to its end."""
    environment = {faults.FAULT: fault} if fault else {}
    done = programs.run(
        *FLAGS, *EPOCHS, *flags, f"--workdir={workdir}", module="mkd_tf.train", timeout=900, **environment
    )
    struck = re.search(rf"{faults.STRUCK}([0-9.]+)", done.stderr)
    took = time.time() - float(struck[1]) if struck else 0.0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else "", took


def strike(name: str, folder: Path, how: str = "kill") -> int:
    """Strikes a run of a configuration at each of its points; returns how many there were.

    Raises:
      AssertionError: if a point was not reached, a start failed, or the end differs from that of a
        run that was left alone; without `--deterministic`, if something of it is missing.
    """
    flags, roles, points = CONFIGURATIONS[name]
    if how != "kill":  # The step is finished and saved, and the next start is beyond most of the points.
        points = (">images.sha256:1", *(f">{role}/history.csv:1" for role in roles), ">results.json:1")
    flags = tuple(_with_data(flag, folder) for flag in flags)
    whole, torn = folder / "whole", folder / "torn"
    code, last, _ = start(whole, flags)
    assert code == 0, last
    for point in points:
        code, last, took = start(torn, flags, f"{how}:{point}")
        assert code == faults.EXITS[how], f"{name} {point}: exit {code}, {last}"
        assert took, f"{name} {point}: not reached"
        print(f"{name}  {point:34s} {'' if how == 'kill' else f'{took:.1f} s  {last[:120]}'}", flush=True)
    code, last, _ = start(torn, flags)
    assert code == 0, last
    if "--nodeterministic" in flags:
        assert _names(whole) <= _names(torn)
    else:
        check_equal_runs(whole, torn, roles)
    assert not [p for p in torn.rglob("*") if ".part" in p.name], "a half file is left"
    print(f"{name}: {len(points)} times struck; as one that was left alone", flush=True)
    return len(points)


def hazards(folder: Path) -> None:
    """Runs once with each hazard that is no kill; in the end all must be as without it.

    Raises:
      AssertionError: if it is not.
    """
    flags = tuple(_with_data(flag, folder) for flag in CONFIGURATIONS["voc"][0])
    roles = CONFIGURATIONS["voc"][1]
    whole, image = folder / "whole", sorted((folder / "voc" / "JPEGImages").iterdir())[0]
    code, last, _ = start(whole, flags)
    assert code == 0, last
    content = image.read_bytes()
    hazardous = {"clock": "clock", "memory": "memory", "image": f"remove={image}"}
    for name, how in hazardous.items():
        workdir = folder / name
        code, last, took = start(workdir, flags, f"{how}:>guide/backup/epoch_000001:1")
        assert took, f"{name}: not reached"
        print(f"{name}: exit {code}, {last[:200]}", flush=True)
        if name == "image":
            again, last, _ = start(workdir, flags)
            print(f"{name}, started again: exit {again}, {last[:200]}", flush=True)
            image.write_bytes(content)
        code, last, _ = start(workdir, flags)
        assert code == 0, last
        check_equal_runs(whole, workdir, roles)
        assert not [p for p in workdir.rglob("*") if ".part" in p.name], "a half file is left"
        print(f"{name}: in the end as a run without it", flush=True)


def _names(folder: Path) -> set[str]:
    # Which epochs are kept and event files depend on when it was struck.
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {str(p) for p in found if "backup" not in p.parts and "tensorboard" not in p.parts}


def _with_data(flag: str, folder: Path) -> str:
    """Returns a flag with the path of a data set that is made where it names one."""
    if flag == "--dataset=voc":
        voc = VocMaker(folder / "voc")
        for number in range(40):
            voc.add(f"{number}", object_xml("cat" if number % 2 else "dog"))
        return f"--dataset=voc_folder(path={str(voc.root)!r})"
    if flag == "--dataset=coco":
        coco = CocoMaker(folder / "coco")
        for number in range(40):
            coco.add(number, f"{number}.jpg", [10, 12, 20, 28])
        return f"--dataset=coco_json(annotations={str(coco.write())!r}, images={str(coco.images)!r})"
    return flag


def main(arguments: Sequence[str]) -> None:
    """Runs the configurations that are named, all without names."""
    if "--hazards" in arguments:
        with tempfile.TemporaryDirectory() as folder:
            hazards(Path(folder))
        return
    how = next((a.removeprefix("--how=") for a in arguments if a.startswith("--how=")), "kill")
    names = [a for a in arguments if not a.startswith("--")] or list(CONFIGURATIONS)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            strike(name, Path(folder), how)


if __name__ == "__main__":
    main(sys.argv[1:])
