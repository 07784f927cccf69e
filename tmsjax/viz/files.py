"""Figures as files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def save_figure(fig: Figure, path: Path) -> Path:
    """Write to a temporary name first, so that an interrupted run leaves no half-written picture; closes the figure."""
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    fig.savefig(temporary)
    plt.close(fig)
    temporary.replace(path)
    return path


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture file (.png) that a notebook shows."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()
