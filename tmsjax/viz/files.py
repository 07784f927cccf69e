"""Figures as files."""

from __future__ import annotations

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
