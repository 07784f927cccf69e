import importlib.metadata
import platform

from tmsjax.core.versions import versions


def test_what_is_installed_and_only_that():
    found = versions("numpy", "no-such-package")
    assert found == {"python": platform.python_version(), "numpy": importlib.metadata.version("numpy")}
