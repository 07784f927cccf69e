"""What counts as an array at the library's entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
else:
    ArrayLike = Any  # numpy's protocol turns plain tuples away when it is checked at run time
    """Anything that numpy.asarray takes."""

__all__ = ["ArrayLike"]
