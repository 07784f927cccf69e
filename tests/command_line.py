"""A command as a user runs it, but in this process: what it compiles serves all tests."""

import io
import signal
import sys
import warnings
from types import SimpleNamespace

import pytest

from tmsjax.cli import main


def command(name):
    """``call(*arguments)`` -> returncode, stdout and stderr of ``tmsjax NAME ARGUMENTS``; Ctrl-C stays the tests'."""

    def call(*arguments):
        patch = pytest.MonkeyPatch()
        patch.setattr(sys, "argv", ["tmsjax", name, *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", io.StringIO())
        said = SimpleNamespace(returncode=0)
        before = signal.getsignal(signal.SIGINT)
        with warnings.catch_warnings():
            try:
                main()
            except SystemExit as stop:
                said.returncode = stop.code
            finally:
                said.stdout, said.stderr = sys.stdout.getvalue(), sys.stderr.getvalue()
                patch.undo()
                signal.signal(signal.SIGINT, before)
        return said

    return call
