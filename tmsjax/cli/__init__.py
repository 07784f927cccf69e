"""The command line: ``tmsjax COMMAND``. One file per command; it parses, calls and prints."""

from __future__ import annotations

import signal
import sys
import warnings


def main() -> None:
    """Entry point of ``tmsjax``: run a command; print tmsjax's own errors as messages, not as tracebacks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import tyro
    from rich.console import Console
    from rich.markup import escape

    from tmsjax.cli.demo import demo
    from tmsjax.cli.efield import efield
    from tmsjax.cli.evaluate import evaluate
    from tmsjax.cli.fetch import fetch
    from tmsjax.cli.mep import mep
    from tmsjax.cli.optimize import optimize
    from tmsjax.cli.simulate import simulate
    from tmsjax.cli.sweep import sweep
    from tmsjax.cli.target import target
    from tmsjax.cli.thresholds import thresholds
    from tmsjax.cli.train import train
    from tmsjax.core.errors import TmsjaxError

    commands = {
        "demo": demo,
        "efield": efield,
        "evaluate": evaluate,
        "fetch": fetch,
        "mep": mep,
        "optimize": optimize,
        "simulate": simulate,
        "sweep": sweep,
        "target": target,
        "thresholds": thresholds,
        "train": train,
    }
    warnings.simplefilter("default")
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="tmsjax",
            description="From a TMS coil over a head to which neurons fire. Example: tmsjax demo --verify 5",
        )
    except TmsjaxError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("\ninterrupted: nothing was half-written", highlight=False)
        sys.exit(130)
