"""Tables of sixteen float32 in registers, looked up by moving lanes: one instruction of AVX-512, four of AVX2.

Where there is neither, entries are loaded from memory, one lane after the other.
"""

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from ._vec import I32, call, call_named, cpu_features, in_two, joined, taken

_FLOAT, _ENTRIES = ir.FloatType(), 16


@intrinsic
def looked_up(typingctx, index, table):
    """The entries of a table, a `Constant`, with these numbers, of which the last four bits count."""

    def codegen(context, builder, sig, args):
        return _looked_up(builder, args[0], table.values[4])

    return index.as_floats(index, table), codegen


@intrinsic
def polynomial(typingctx, index, t, tables):
    """c₀ + c₁ t + … + cₙ tⁿ by fused multiply-adds from cₙ on, with coefficients from a table for each, c₀ first."""

    def codegen(context, builder, sig, args):
        *others, total = (_looked_up(builder, args[0], table) for table in tables.values[4])
        for coefficients in reversed(others):
            total = call(builder, "llvm.fma.{}", total.type, [args[1], total, coefficients])
        return total

    return t(index, t, tables), codegen


def _looked_up(builder, index, table):
    entries, features = [_FLOAT(entry) for entry in table], cpu_features()
    look_up = _in_one if "avx512f" in features else _in_two if "avx2" in features else _from_memory
    starts = range(0, index.type.count, _ENTRIES)
    vectors = [taken(builder, index, range(start, start + _ENTRIES)) for start in starts]
    return joined(builder, [look_up(builder, entries, vector) for vector in vectors])


def _moved(builder, name, entries, index):
    vector = ir.Constant(ir.VectorType(_FLOAT, len(entries)), entries)
    return call_named(builder, name, vector.type, [vector, index])


def _in_one(builder, entries, index):
    return _moved(builder, "llvm.x86.avx512.permvar.sf.512", entries, index)


def _in_two(builder, entries, index):
    halves = []
    for half in in_two(builder, index):
        low, high = (_moved(builder, "llvm.x86.avx2.permps", part, half) for part in (entries[:8], entries[8:]))
        bit = builder.and_(half, ir.Constant(half.type, [8] * 8))
        halves.append(builder.select(builder.icmp_signed("==", bit, ir.Constant(half.type, None)), low, high))
    return joined(builder, halves)


def _from_memory(builder, entries, index):
    memory = cgutils.alloca_once_value(builder, ir.Constant(ir.ArrayType(_FLOAT, _ENTRIES), entries))
    result = ir.Constant(ir.VectorType(_FLOAT, _ENTRIES), ir.Undefined)
    for lane in map(I32, range(_ENTRIES)):
        number = builder.and_(builder.extract_element(index, lane), I32(_ENTRIES - 1))
        entry = builder.load(builder.gep(memory, [I32(0), number], inbounds=True))
        result = builder.insert_element(result, entry, lane)
    return result
