"""Vectors of lanes for numba: one value a lane, all lanes in one SIMD register (or a few, where registers are short).

Plain loops over lanes leave it to the compiler whether they become vector code; between arrays that might overlap they
do not. A ``Lanes`` value is an LLVM vector, so that ``+ - * /``, comparisons and ``where`` are one instruction each on
every processor. Array rows are lanes: ``load(array, i)`` is ``array[i, :]`` of an array (rows, LANES).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import overload, register_jitable, register_model

LANES = 16
"""Simulations that advance together: a 512-bit register of float32."""
_CONTRACT = ("contract",)  # a * b + c may be one instruction; nothing is reordered


def _sources() -> str:
    """A digest of this folder's text: numba's cache looks at a function's own file, and not at what it calls."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


SOURCES = _sources()


def kernel(function: Callable) -> Callable:
    """Compile with numba on first use, into a cache on disk where one can be written; runs without Python's lock.

    Like the two below it takes the function as it is written, from under the type checks of a test run.
    """
    plain = inspect.unwrap(function)
    plain.__qualname__ = f"{plain.__qualname__}_{SOURCES}"  # the name of the cached file
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(plain)
    except RuntimeError:  # no folder for the cache
        return njit(nogil=True, error_model="numpy")(plain)


def inlined(function: Callable) -> Callable:
    """Let numba compile a function into those that call it; Python calls it as it is."""
    return register_jitable(forceinline=True)(inspect.unwrap(function))


def on_lanes(python_function: Callable) -> Callable:
    """What numba makes of a Python function whose arguments are lanes: a function of their types that returns it."""

    def register(choose: Callable) -> Callable:
        @functools.wraps(inspect.unwrap(choose))
        def chosen(*args, **kwargs):
            implementation = inspect.unwrap(choose)(*args, **kwargs)
            return implementation and inspect.unwrap(implementation)

        return overload(python_function, jit_options={"forceinline": True})(chosen)

    return register


def intrinsic(function: Callable) -> Callable:
    """An LLVM instruction as a function of numba's."""
    return numba_intrinsic(inspect.unwrap(function))


class Lanes(types.Type):
    """The numba type of a vector of LANES numbers of one dtype (boolean: a mask)."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype}, {LANES})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(_element(fe_type.dtype), LANES))


def _element(dtype: types.Type) -> ir.Type:
    return {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)}[dtype]


MASK = Lanes(types.boolean)


def _pointer(context, builder, array_type, array, row):
    """Pointer to the vector ``array[row, 0:LANES]`` of a C-contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.mul(row, ir.Constant(row.type, LANES))
    vector = ir.VectorType(_element(array_type.dtype), LANES)
    return builder.bitcast(builder.gep(data, [first]), vector.as_pointer())


def _is_table(array) -> bool:
    return isinstance(array, types.Array) and array.ndim == 2 and array.layout == "C"


@intrinsic
def load(typingctx, array, row):
    """``array[row, :]`` as a vector; ``array`` is (rows, LANES)."""
    if not _is_table(array):
        return None

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args)
        return builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, row, value):
    """``array[row, :] = value``."""
    if not _is_table(array) or value != Lanes(array.dtype):
        return None

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def _splat(typingctx, like, number):
    """A number in every lane of a vector of the type of ``like``."""

    def codegen(context, builder, signature, args):
        scalar = context.cast(builder, args[1], signature.args[1], like.dtype)
        vector = ir.Constant(ir.VectorType(_element(like.dtype), LANES), ir.Undefined)
        vector = builder.insert_element(vector, scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(vector, vector, zeros)

    return like(like, number), codegen


def _arithmetic(name: str):
    @intrinsic
    def apply(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, name)(*args, flags=_CONTRACT)

        return a(a, b), codegen

    return apply


def _compare(symbol: str):
    @intrinsic
    def apply(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return builder.fcmp_ordered(symbol, *args)

        return MASK(a, b), codegen

    return apply


def _register(python_operator, apply) -> None:
    """The operator between two vectors, or a vector and a number of any kind."""

    @on_lanes(python_operator)
    def operate(a, b):
        if isinstance(a, Lanes) and isinstance(b, Lanes) and a == b and a != MASK:
            return lambda a, b: apply(a, b)
        if isinstance(a, Lanes) and isinstance(b, types.Number):
            return lambda a, b: apply(a, _splat(a, b))
        if isinstance(b, Lanes) and isinstance(a, types.Number):
            return lambda a, b: apply(_splat(b, a), b)
        return None


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register(_operator, _arithmetic(_name))
for _operator, _symbol in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _register(_operator, _compare(_symbol))


@intrinsic
def _negate(typingctx, a):
    def codegen(context, builder, signature, args):
        return builder.fneg(args[0])

    return a(a), codegen


@on_lanes(operator.neg)
def _neg(a):
    return (lambda a: _negate(a)) if isinstance(a, Lanes) else None


@intrinsic
def both(typingctx, a, b):
    """Lanes in which both masks hold."""

    def codegen(context, builder, signature, args):
        return builder.and_(*args)

    return MASK(a, b), codegen


@intrinsic
def bits(typingctx, mask):
    """The mask as an integer, lane k as bit k; 0 where it holds in none."""

    def codegen(context, builder, signature, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.uint64(mask), codegen


@intrinsic
def _select(typingctx, mask, a, b):
    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(mask, a, b), codegen


@intrinsic
def _round(typingctx, a):
    """The nearest whole number in every lane (ties to even)."""

    def codegen(context, builder, signature, args):
        kind = args[0].type
        suffix = "f32" if a.dtype == types.float32 else "f64"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.rint.v{LANES}{suffix}"
        )
        return builder.call(function, args)

    return a(a), codegen


@intrinsic
def _power_of_two(typingctx, a):
    """2 ** a for whole numbers a within the exponents of the dtype, exactly."""
    width, bias, mantissa = (32, 127, 23) if a.dtype == types.float32 else (64, 1023, 52)

    def codegen(context, builder, signature, args):
        whole = ir.VectorType(ir.IntType(width), LANES)
        exponent = builder.add(builder.fptosi(args[0], whole), ir.Constant(whole, [bias] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [mantissa] * LANES)), args[0].type)

    return a(a), codegen


@intrinsic
def _exponent(typingctx, a):
    """The power of two of a positive normal number: a = mantissa * 2 ** exponent with 1 <= mantissa < 2."""
    width, bias, mantissa = (32, 127, 23) if a.dtype == types.float32 else (64, 1023, 52)

    def codegen(context, builder, signature, args):
        whole = ir.VectorType(ir.IntType(width), LANES)
        raised = builder.lshr(builder.bitcast(args[0], whole), ir.Constant(whole, [mantissa] * LANES))
        return builder.sitofp(builder.sub(raised, ir.Constant(whole, [bias] * LANES)), args[0].type)

    return a(a), codegen


def is_vector(value: object) -> bool:
    """Whether a numba type is a vector of numbers."""
    return isinstance(value, Lanes) and value != MASK


def table(rows: int, dtype: str | np.dtype | type) -> np.ndarray:
    """Zeros (rows, LANES) that begin on a cache line, so that no vector straddles two."""
    size = rows * LANES * np.dtype(dtype).itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(rows, LANES)
