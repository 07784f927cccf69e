"""Training curves: what is drawn is the history."""

import matplotlib.pyplot as plt
import numpy as np

from tmsjax.viz import training_curves


def test_curves_are_the_histories_and_the_dot_is_the_epoch_kept(tmp_path, monkeypatch):
    history = {"train": [3.0, 2.0, 1.0], "validation": [3.5, 2.2, 2.4], "learning_rate": [1e-3, 1e-3, 2e-4]}
    monkeypatch.setattr(plt, "close", lambda *_: None)
    path = training_curves(tmp_path / "curves.png", {"a": history, "b": history}, caption="two networks")
    assert path.stat().st_size > 10_000
    top, bottom = plt.gcf().axes
    train, validation, dot, *_ = top.get_lines()
    np.testing.assert_array_equal(train.get_xydata(), [[1, 3.0], [2, 2.0], [3, 1.0]])
    np.testing.assert_array_equal(validation.get_ydata(), history["validation"])
    np.testing.assert_array_equal(dot.get_xydata(), [[2, 2.2]])
    np.testing.assert_array_equal(bottom.get_lines()[0].get_ydata(), history["learning_rate"])
    assert [text.get_text() for text in top.get_legend().get_texts()][:2] == ["a, training", "a, validation"]
    monkeypatch.undo()
    plt.close("all")
