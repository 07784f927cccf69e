"""Frozen dataclasses as pytrees: arrays are leaves, names and specs are static."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=False)
def pytree(*static: str) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass and a JAX pytree; the fields named in ``static`` are hashable metadata.

    Validation belongs in constructors (``from_...``) and at entry points, not in ``__post_init__``: JAX rebuilds
    instances with tracers and with placeholder objects.
    """

    def wrap(cls: type[T]) -> type[T]:
        cls = dataclasses.dataclass(frozen=True)(cls)
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        unknown = set(static) - set(names)
        if unknown:
            raise TypeError(f"{cls.__name__} has no fields {sorted(unknown)} to make static")
        jax.tree_util.register_dataclass(cls, [n for n in names if n not in static], list(static))
        return cls

    return wrap
