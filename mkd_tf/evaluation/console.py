"""The console of a program: tables, progress, and plain lines."""

from rich.console import Console


def make_console() -> Console:
    """Returns the console of a program; a log file has no width of its own, and a table needs one."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def say(console: Console, text: str) -> None:
    """Prints a line as it is: not broken, not coloured, and with the square brackets that names may have."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
