"""Progress of a command's stages: what runs, what came of it, how long it took."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

Say = Callable[[str], None]


_interrupted = threading.Event()


def catch_interrupts() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, at the latest when the running stage ends.

    Before, while packages are imported, Ctrl-C ends the process outright: NumPy's import does not survive an exception.
    Python drops exceptions that are raised in callbacks of C libraries, so the event remembers them.
    """

    def interrupt(signum, frame) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


class Stages:
    """Prints one line a stage and keeps the seconds of each in ``seconds``; Ctrl-C ends the work whole."""

    def __init__(self, console: Console) -> None:
        catch_interrupts()
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Say]:
        """Run a stage: yields a function that says how it is going; what it said last stays on the line."""
        said = ""
        start = time.perf_counter()
        with self.console.status(f"{name} ...") as status:

            def say(text: str) -> None:
                nonlocal said
                said = text
                status.update(escape(f"{name}: {text}"))

            yield say
        if _interrupted.is_set():
            raise KeyboardInterrupt
        self.seconds[name] = round(time.perf_counter() - start, 2)
        line = f"[green]✓[/] {name:<22} {self.seconds[name]:6.1f} s  [dim]{escape(said)}[/]"
        self.console.print(line, highlight=False)
