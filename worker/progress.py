"""How far a long command has come, on a person's terminal."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(console: Console, what: str, *, total: float, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on `console`; call what it gives with each step's size. Nothing is drawn where nobody watches."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    visible = shown and console.is_terminal
    with Progress(*columns, console=console, disable=not visible, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda step: progress.advance(task, step)
