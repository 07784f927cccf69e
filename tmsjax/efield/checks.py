"""What the field engine asks of its input: heads, coils, poses, rates. Values are looked at where they are concrete."""

from __future__ import annotations

import operator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.clearance import check_outside
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.transforms import check_rigid, check_voxel_affine
from tmsjax.head import HeadModel

LABELS = 256
"""Labels are 8-bit numbers."""


def concrete(*values: Any) -> bool:
    """Whether none of the values is traced."""
    return not any(isinstance(v, Tracer) for v in values)


def rate(didt: Any) -> Float[Array, ""]:
    """The rate of change as an array, checked where it is concrete."""
    try:
        found = jnp.asarray(didt)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("didt is no number", got=repr(didt)[:80], expected="one number, A/us") from error
    if found.shape != ():
        raise InputError("didt is not a scalar", got=found.shape, expected="one number, A/us")
    if not (jnp.issubdtype(found.dtype, jnp.floating) or jnp.issubdtype(found.dtype, jnp.integer)):
        raise InputError("didt is no real number", got=repr(didt)[:80], expected="one number, A/us")
    if concrete(found) and not np.isfinite(found):
        raise InputError("didt is not finite", got=float(found), expected="A/us")
    return jnp.asarray(found, float)


def check_head(head: HeadModel) -> None:
    """Labels, affine and conductivities that a field can be solved with."""
    if not isinstance(head, HeadModel):
        raise InputError(
            "this is no head", got=type(head).__name__, expected="a HeadModel", mend="tmsjax.head.load or from_labels"
        )
    if not concrete(head.labels):
        raise InputError("labels are traced", got="a tracer", expected="a concrete array", mend="close over the head")
    labels = np.asarray(head.labels)
    whole = labels.dtype.kind in "iu" and labels.ndim == 3 and labels.size
    if not whole or labels.min() < 0 or labels.max() >= LABELS:
        raise InputError(
            "the labels are no label map",
            got=f"{labels.dtype} {labels.shape}",
            expected=f"(i, j, k) whole numbers from 0 (air) to {LABELS - 1}",
            mend="make the head by tmsjax.head.from_labels",
        )
    check_voxel_affine(head.affine, "affine of the head")
    if not isinstance(head.conductivity, dict):
        raise InputError(
            "conductivities of the head", got=type(head.conductivity).__name__, expected="a dict, label -> S/m"
        )
    for label, value in head.conductivity.items():
        if concrete(value):
            check_number(value, f"conductivity of label {label}", above=0.0, unit="S/m")


def check_air(head: HeadModel) -> None:
    """Some side of the label map must be air; a head may be cut by the others."""
    labels = np.asarray(head.labels)
    faces = [np.take(labels, end, axis) for axis in range(3) for end in (0, -1)]
    if all((face > 0).all() for face in faces):
        raise InputError(
            "there is no air around the head",
            got="tissue in every voxel of the label map's six sides",
            expected="air (0) on some side; a head may be cut by the others",
            mend="label air as 0, or pad the labels with it: np.pad(labels, 1)",
        )


def check_kinds(coil: Coil, pose: CoilPose) -> None:
    """A coil, and one pose."""
    if not isinstance(coil, Coil):
        raise InputError(
            "this is no coil", got=type(coil).__name__, expected="a Coil", mend="tmsjax.coil.load(name or path)"
        )
    if not isinstance(pose, CoilPose):
        raise InputError(
            "this is no coil pose", got=type(pose).__name__, expected="a CoilPose", mend="CoilPose.from_matrix(matrix)"
        )
    if jnp.shape(pose.rotation) != (3, 3) or jnp.shape(pose.centre) != (3,):
        raise InputError(
            "this is not one pose",
            got=f"rotation {jnp.shape(pose.rotation)}, centre {jnp.shape(pose.centre)}",
            expected="(3, 3) and (3,)",
            mend="map over several: jax.vmap(lambda pose: ...)(poses)",
        )


def check_coil(coil: Coil, pose: CoilPose) -> None:
    """A coil of finite dipoles, and a pose that is one rigid transform."""
    check_kinds(coil, pose)
    for what, value in (("dipole positions", coil.positions), ("dipole moments", coil.moments)):
        if concrete(value) and not np.isfinite(np.asarray(value)).all():
            raise InputError(f"{what} are not finite", got="NaN or inf", expected="finite mm and A.m2 per A")
    if concrete(pose.rotation, pose.centre):
        check_rigid(pose.matrix, "coil pose matrix")


def check_apart(head: HeadModel, coil: Coil, pose: CoilPose) -> None:
    """No part of the coil may be in the head."""
    if concrete(pose.rotation, pose.centre, coil.positions, coil.windings):
        check_outside(head, coil, pose)


def tissues(labels: Any) -> list[int]:
    """Labels of tissues as a list, or InputError: one number is no list of them."""
    try:
        found = [operator.index(label) for label in labels]
    except TypeError as error:
        raise InputError(
            "labels of tissues", got=repr(labels)[:80], expected="whole numbers, such as (1, 2)"
        ) from error
    if not found or 0 in found:
        raise InputError("labels of tissues", got=found, expected="one or more, without 0 (air)")
    return found


def conductor(mask: np.ndarray, affine: np.ndarray) -> HeadModel:
    """A head of nothing but where it is, for ``check_apart``."""
    return HeadModel(
        labels=mask.astype(np.uint8), affine=affine, conductivity={}, surfaces=None, mni_to_head=None, landmarks={},
        name="a conductivity map",
    )  # fmt: skip
