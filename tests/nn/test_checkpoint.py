"""Small pytrees on disk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.nn import checkpoint

TREE = {
    "layer": {"kernel": np.random.default_rng(0).normal(size=(105, 256)).astype(np.float32), "log_q": np.float32(3.4)},
    "limits": jnp.arange(5, dtype=jnp.float32) * np.pi,
}


def test_round_trip_is_bit_exact_and_small(tmp_path):
    checkpoint.save(TREE, tmp_path / "w")
    back = checkpoint.load(tmp_path / "w")
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    for a, b in zip(jax.tree.leaves(TREE), jax.tree.leaves(back), strict=True):
        assert isinstance(b, np.ndarray)
        assert np.asarray(a).tobytes() == b.tobytes()
        assert a.dtype == b.dtype
    files = [f for f in (tmp_path / "w").rglob("*") if f.is_file()]
    assert len(files) < 15
    assert sum(f.stat().st_size for f in files) < 1.3 * 4 * 105 * 256


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path):
    checkpoint.save(TREE, tmp_path / "w")
    checkpoint.save({"other": np.ones(2)}, tmp_path / "w")
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "w")["other"], [1.0, 1.0])
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_missing_and_damaged_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="no checkpoint here"):
        checkpoint.load(tmp_path / "nowhere")
    checkpoint.save(TREE, tmp_path / "w")
    largest = max((f for f in (tmp_path / "w").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(InputError, match=f"damaged[^$]*{largest.name}"):
        checkpoint.load(tmp_path / "w")
    largest.unlink()
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load(tmp_path / "w")
    (tmp_path / "w" / checkpoint.SUMS).write_bytes(b"\xff\x00 nonsense")
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load(tmp_path / "w")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no checkpoint here"):
        checkpoint.load(tmp_path / "empty")
