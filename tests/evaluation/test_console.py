"""Plain lines of a program: as they are, whatever names they hold."""

import io

from rich.console import Console

from mkd_tf.evaluation.console import say


def test_a_line_is_printed_as_it_is():
    printed = io.StringIO()
    text = "classes: [cat], [/dog], [bold]3[/bold] 'cups' " + "and more words " * 20
    say(Console(file=printed, width=40, force_terminal=True), text)
    assert printed.getvalue() == text + "\n"
