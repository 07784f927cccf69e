"""``tmsjax fetch``: data that may not be shipped, from where it is public, after its licence was accepted."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class FetchOptions:
    """Fetch data that tmsjax may not ship: the 15 neurons of Aberra et al. (2020).

    Example: tmsjax fetch aberra2019
    """

    what: tyro.conf.Positional[Literal["aberra2019"]]
    """aberra2019: 5 clones each of L2/3 PC, L4 LBC and L5 PC (6 MB, CC BY-NC-SA 4.0)."""
    accept_licence: tyro.conf.FlagCreatePairsOff[bool] = False
    """Accept the licence without being asked."""
    source: str | None = None
    """Folder or .zip with the files, or another address; by default GitHub, then ModelDB's copy."""
    folder: Path | None = None
    """Where to put them; by default where cells.load finds them."""


def fetch(options: Annotated[FetchOptions, tyro.conf.arg(name="")]) -> None:
    """Fetch data that tmsjax may not ship: the 15 neurons of Aberra et al. (2020).

    Example: tmsjax fetch aberra2019
    """
    from rich.console import Console
    from rich.prompt import Confirm

    from tmsjax.cells import fetch as fetching

    console = Console()
    console.print(fetching.NOTICE, highlight=False, markup=False, soft_wrap=True)
    accepted = options.accept_licence
    if not accepted and sys.stdin.isatty():
        accepted = Confirm.ask("Do you accept this licence?", default=False, console=console)
    folder = options.folder or fetching.reference_folder()
    became = fetching.fetch_aberra2019(
        accept_licence=accepted,
        source=options.source,
        folder=folder,
        progress=lambda message: console.print(message, highlight=False, markup=False, soft_wrap=True),
    )
    fetched = sum(word == "fetched" for word in became.values())
    console.print(
        f"{fetched} cells fetched, {len(became) - fetched} were there already, all checked: {folder}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    where = "" if options.folder is None else f", root={str(folder)!r}"
    example = f'tmsjax.cells.load("aberra2019/{next(iter(became))}"{where})'
    console.print(f"Use them: {example}", highlight=False, markup=False, soft_wrap=True)
