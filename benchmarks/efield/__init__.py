"""The field engine against theory, finer solves and peers; each module but ``__main__`` is a part, found by its name.

A part has ``measure(quick: bool) -> (results, targets)`` and prints its own tables.
"""

import importlib
import pkgutil
from typing import Any


def parts() -> list[str]:
    """Names of the parts."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def measure(part: str, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results and targets of one part."""
    return importlib.import_module(f"{__name__}.{part}").measure(quick)
