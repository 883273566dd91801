"""What arrays a function takes and gives, written once: `"X(...,d) W(m,d) b(m)? -> Y(...,m)"`.

Each letter is a size, the same wherever it stands; `...` is any number of leading axes, one axis by the time a kernel
sees it; `?` marks an argument that may be missing (for a kernel: an array of size 0), and `:int` one of integers. The
public functions read their checks, error messages and result shapes from a `Signature`; compiled code asks `fits`.
"""

import re
from copy import copy
from dataclasses import dataclass, replace
from itertools import combinations, product

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._vec import compile_time, field

_OPERAND = re.compile(r"(\w+)\(([^)]*)\)(:int)?(\?)?")


@dataclass(frozen=True)
class Operand:
    """One array of a signature: its name, its axes as letters or `...`, whether it holds integers or may be missing;
    whether a kernel takes it by columns, too."""

    name: str
    axes: tuple
    integer: bool
    optional: bool
    by_columns: bool = False


def _operands(text):
    return tuple(
        Operand(name, tuple(axis.strip() for axis in axes.split(",") if axis.strip()), bool(integer), bool(optional))
        for name, axes, integer, optional in _OPERAND.findall(text)
    )


class Signature:
    """The arrays of one function; `inplace`: a result may be written over an input of its own axes; `by_columns`: the
    names of matrices that kernels also take in Fortran order."""

    def __init__(self, text, inplace=False, by_columns=""):
        self.text, self.inplace, self.by_columns = text, inplace, by_columns
        before, after = text.split("->")
        self.inputs, self.outputs = _operands(before), _operands(after)
        self.inputs = tuple(replace(o, by_columns=o.name in by_columns.split()) for o in self.inputs)

    def __repr__(self):
        return self.text

    def place(self, name):
        """Where among the inputs the one of this name stands."""
        return [operand.name for operand in self.inputs].index(name)

    def size(self, letter, arrays):
        """The size that a letter stands for, of arrays by name."""
        operand = next(operand for operand in self.inputs if letter in operand.axes and operand.name in arrays)
        return arrays[operand.name].shape[operand.axes.index(letter) - len(operand.axes)]

    def of_gradients(self):
        """This signature without its first result, the loss."""
        other = copy(self)
        other.outputs = self.outputs[1:]
        return other


class _SignatureType(types.Dummy):
    def __init__(self, text, inplace, by_columns):
        self.signature = Signature(text, inplace, by_columns)
        super().__init__(name=f"Signature({text!r}, {inplace}, {by_columns!r})")


compile_time(Signature, _SignatureType, ("text", "inplace", "by_columns"))


@intrinsic
def fits(typingctx, signature_type, arrays):
    """The product of all sizes where the arrays, inputs first, fit the signature, and -1 where they do not.

    They fit if equal letters are equal sizes and no output overlaps another array. More arguments may follow.
    """
    signature = signature_type.signature
    count = len(signature.inputs + signature.outputs)

    def codegen(context, builder, sig, args):
        values = cgutils.unpack_tuple(builder, args[1])[:count]
        arrays_of = list(zip(arrays.types, values, strict=False))
        operands = signature.inputs + signature.outputs
        shapes = [field(context, builder, *array, "shape") for array in arrays_of]
        sizes = [field(context, builder, *array, "nitems") for array in arrays_of]
        starts = [field(context, builder, *array, "data") for array in arrays_of]
        answer, volume = _sizes_agree(builder, operands, shapes, sizes)
        ends = [_ends(builder, *memory) for memory in zip(starts, sizes, arrays.types, strict=False)]
        outputs = range(len(signature.inputs), len(operands))
        for a, b in (*product(outputs, range(len(signature.inputs))), *combinations(outputs, 2)):
            (start, stop), (other_start, other_stop) = ends[a], ends[b]
            apart = builder.or_(
                builder.icmp_unsigned(">=", start, other_stop), builder.icmp_unsigned(">=", other_start, stop)
            )
            if signature.inplace and b < len(signature.inputs) and operands[a].axes == operands[b].axes:
                apart = builder.or_(apart, builder.icmp_unsigned("==", starts[a], starts[b]))
            answer = builder.and_(answer, apart)
        return builder.select(answer, volume, ir.Constant(volume.type, -1.0))

    return types.float64(signature_type, arrays), codegen


@intrinsic
def total_bytes(typingctx, signature_type, arrays):
    """Of the arrays of the signature, with which the arguments begin."""
    count = len(signature_type.signature.inputs + signature_type.signature.outputs)

    def codegen(context, builder, sig, args):
        total = ir.Constant(ir.DoubleType(), 0.0)
        for array, value in zip(arrays.types[:count], cgutils.unpack_tuple(builder, args[1]), strict=False):
            elements = builder.sitofp(field(context, builder, array, value, "nitems"), total.type)
            itemsize = ir.Constant(total.type, array.dtype.bitwidth / 8)
            total = builder.fadd(total, builder.fmul(elements, itemsize))
        return total

    return types.float64(signature_type, arrays), codegen


def _sizes_agree(builder, operands, shapes, sizes):
    size_of = {}
    answer = ir.Constant(ir.IntType(1), 1)
    for operand, shape, elements in zip(operands, shapes, sizes, strict=True):
        agree = ir.Constant(ir.IntType(1), 1)
        for axis, size in zip(operand.axes, shape, strict=True):
            known = size_of.get(axis, size) if operand.optional else size_of.setdefault(axis, size)
            agree = builder.and_(agree, builder.icmp_signed("==", size, known))
        if operand.optional:
            agree = builder.or_(agree, builder.icmp_signed("==", elements, ir.Constant(ir.IntType(64), 0)))
        answer = builder.and_(answer, agree)
    volume = ir.Constant(ir.DoubleType(), 1.0)  # a float: sizes of long arrays multiply beyond 64 bits
    for size in size_of.values():
        volume = builder.fmul(volume, builder.sitofp(size, volume.type))
    return answer, volume


def _ends(builder, data, elements, array_type):
    """Where the memory of a contiguous array starts and stops; that of an empty one starts where nothing is behind."""
    word = ir.IntType(64)
    start = builder.ptrtoint(data, word)
    stop = builder.add(start, builder.mul(elements, ir.Constant(word, array_type.dtype.bitwidth // 8)))
    nowhere = ir.Constant(word, 2**64 - 1)
    return builder.select(builder.icmp_unsigned("==", start, stop), nowhere, start), stop
