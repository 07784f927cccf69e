"""Training curves: loss on training and validation examples by epoch, and the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator, NullFormatter

from tmsjax.viz.files import save_figure

History = Mapping[str, Sequence[float]]


def training_curves(path: Path, histories: Mapping[str, History], *, caption: str = "") -> Path:
    """Draw the training of one or more networks and write it to ``path`` (.png or .pdf).

    Args:
        path: where to.
        histories: name -> ``train``, ``validation`` and ``learning_rate`` by epoch: a ``Fit.history`` or
            ``nn.read_metrics(folder)``.
        caption: one line that says what is shown.
    """
    fig, (top, bottom) = plt.subplots(
        2, 1, figsize=(5.6, 4.6), dpi=160, sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    for i, (name, history) in enumerate(histories.items()):
        epochs = range(1, len(history["train"]) + 1)
        best = min(epochs, key=lambda e: history["validation"][e - 1])
        label = f"{name}, " if len(histories) > 1 else ""
        top.plot(epochs, history["train"], color=f"C{i}", lw=1, alpha=0.5, label=f"{label}training")
        top.plot(epochs, history["validation"], color=f"C{i}", lw=1.6, label=f"{label}validation")
        top.plot(best, history["validation"][best - 1], "o", color=f"C{i}", ms=4)
        bottom.plot(epochs, history["learning_rate"], color=f"C{i}", lw=1.2)
    top.set_yscale("log")
    top.set_ylabel("loss (dot: the epoch kept)")
    top.legend(fontsize=8, frameon=False)
    if caption:
        top.set_title(caption, fontsize=9)
    bottom.set_yscale("log")
    rates = [rate for history in histories.values() for rate in history["learning_rate"] if rate > 0]
    if rates:
        bottom.set_ylim(min(rates) / 3, 3 * max(rates))  # a decade or more, or its labels crowd
    bottom.yaxis.set_minor_formatter(NullFormatter())
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch")
    for ax in (top, bottom):
        ax.spines[["top", "right"]].set_visible(False)
    return save_figure(fig, path)
