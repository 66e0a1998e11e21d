"""How far a training is, as bars on standard error that vanish when it is done."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class TerminalWatch:
    """One bar a stage; silent where standard error is no terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[remark]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, name: str) -> None:
        """Ends the bar before and begins one."""
        if self._task is not None:
            task = self._progress.tasks[self._task]
            self._progress.update(self._task, total=task.total or 1, completed=task.total or 1)
        self._task = self._progress.add_task(name, total=None, remark="")

    def rows(self, done: int, total: int | None) -> None:
        """Rows read."""
        self._update(done, total, f"{done:,} rows")

    def epoch(self, done: int, planned: int, error: float) -> None:
        """Epochs trained."""
        self._update(done, planned, f"epoch {done} of at most {planned}, validation error {error:.3f}")

    def trial(self, done: int, planned: int, error: float) -> None:
        """Trials of a search."""
        self._update(done, planned, f"trial {done} of {planned}, lowest error {error:.3g}")

    def items(self, done: int, planned: int) -> None:
        """Items of a benchmark."""
        self._update(done, planned, f"{done} of {planned}")

    def _update(self, done: int, total: int | None, remark: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, remark=remark)
