"""Shared by all tests: where the developers' reference data is, and the bundled head."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tmsjax import head as heads

# The same examples in every run, so that a red suite is the change's fault; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def shared_folder() -> Path | None:
    """The developers' reference data: $TMSJAX_SHARED, or ../shared beside the checkout."""
    folder = Path(os.environ.get("TMSJAX_SHARED", Path(__file__).parents[2] / "shared"))
    return folder if (folder / "data").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("the developers' reference data is not here (its licences forbid shipping it); set TMSJAX_SHARED")
    return folder / "data"


@pytest.fixture(scope="session")
def s1():
    return heads.load("S1")


@pytest.fixture(scope="session")
def s1_scalp(s1):
    return heads.scalp_surface(s1)


@pytest.fixture(scope="session")
def small_source(tmp_path_factory):
    """Fields of a recipe on a small head of spheres (``small_head.py``), and that head's label file."""
    from small_head import recipe, write_labels

    from tmsjax.surrogate.source import Source

    labels = write_labels(tmp_path_factory.mktemp("small_head"))
    return Source(recipe(labels), head_file=labels), labels
