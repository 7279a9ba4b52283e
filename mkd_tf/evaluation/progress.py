"""Progress bars for work that reports how much of it is done."""

from collections.abc import Callable

from rich.progress import Progress

OnProgress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


def ignore_progress(done: int, total: int) -> None:
    """An `OnProgress` that shows nothing."""


def bar(progress: Progress, text: str, total: int | None = None) -> OnProgress:
    """Adds a bar to `progress`; returns the function that moves it."""
    task = progress.add_task(text, total=total)
    return lambda done, total: progress.update(task, completed=done, total=total)
