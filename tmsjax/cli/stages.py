"""Progress of a command's stages: what runs, what came of it, how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Say = Callable[[str], None]


class Stages:
    """Prints one line a stage and keeps the seconds of each in ``seconds``."""

    def __init__(self, console: Console) -> None:
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
                status.update(f"{name}: {text}")

            yield say
        self.seconds[name] = round(time.perf_counter() - start, 2)
        self.console.print(f"[green]✓[/] {name:<22} {self.seconds[name]:6.1f} s  [dim]{said}[/]", highlight=False)
