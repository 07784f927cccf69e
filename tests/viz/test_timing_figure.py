"""Figure 7: seconds against the number of thresholds."""

import matplotlib.image
import pytest

from tmsjax.surrogate.evaluation import Method, time_by_count
from tmsjax.viz import timing_figure


@pytest.fixture
def rows():
    methods = {"cable engine": Method(lambda count: sum(range(count)), 10), "support": Method(lambda count: None)}
    return [{"layer": layer, **row} for layer in ("L4", "L5") for row in time_by_count(methods, repeats=1)]


def test_a_picture_of_all_methods_and_cells(rows, tmp_path):
    fine = [{**row, "seconds": max(row["seconds"], 1e-6)} for row in rows]
    path = timing_figure(tmp_path / "time.png", fine, "layer", "one core")
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 400
    assert picture[..., :3].std() > 0.02
    alone = timing_figure(tmp_path / "one.png", [row for row in fine if row["layer"] == "L4"])
    assert alone.stat().st_size != path.stat().st_size
