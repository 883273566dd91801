"""How Numba is spared work that a first call would wait for in vain: the machine code is as good.

What stands on its own, a kernel or a part, is compiled `uncollected` by `OuterCompiler` or `PartCompiler`, inner
functions by `InnerCompiler`.
"""

import gc
import os
from typing import ClassVar

from llvmlite.binding import create_new_function_pass_manager
from numba.core import cgutils, config, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import AnalysisPass, PassManager, register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import (
    AnnotateTypes,
    BaseNativeLowering,
    DumpParforDiagnostics,
    InlineOverloads,
    IRLegalization,
    NativeLowering,
    NativeParforLowering,
    NopythonRewrites,
    NoPythonSupportedFeatureValidation,
    NopythonTypeInference,
)
from numba.core.untyped_passes import (
    FindLiterallyCalls,
    InlineClosureLikes,
    InlineInlinables,
    IRProcessing,
    LiteralPropagationSubPipelinePass,
    LiteralUnroll,
    MakeFunctionToJitFunction,
    RewriteDynamicRaises,
    WithLifting,
)

from ._wrapper import Wrapper

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("fastgrad is what Numba compiles: unset NUMBA_DISABLE_JIT to import it")

# error_model: x / 0 is inf, as in NumPy. No fastmath, ever: it would let LLVM reorder sums and drop NaN. Only prange is
# parallel: Numba's own reductions depend on the number of threads. No references are counted: arrays live as long as
# the call, and to count would take 50 ns for each.
OPTIONS = {"error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}


# Python keeps frames in chunks of 16 KiB. A loop that stands at the end of one maps and unmaps the next in every call
# (python/cpython#142183), as some do, so deep in calls: a fifth of a first call. A frame of so many words gets a chunk
# of its own, with as much room again for what it calls.
_FRAME = 2**17

_is_paused = False  # the garbage collector, by us


def _collect_again():
    global _is_paused
    if _is_paused:
        gc.enable()
        _is_paused = False


if hasattr(os, "register_at_fork"):  # a child has not the thread that was compiling
    os.register_at_fork(after_in_child=_collect_again)


def uncollected(compile_):
    """Numba's method, with the garbage collector paused: it would look at a million objects again and again, of which
    most live until all is compiled. A tenth of a first call."""

    def compile_uncollected(sig):
        global _is_paused
        with global_compiler_lock:  # one after the other: whoever comes later finds the collector as it was
            paused = gc.isenabled()
            if paused:
                gc.disable()
                _is_paused = True
            try:
                return compile_(sig)
            finally:
                if paused:
                    _collect_again()

    compile_uncollected.__code__ = compile_uncollected.__code__.replace(co_stacksize=_FRAME)
    return compile_uncollected


# --- what LLVM does --------------------------------------------------------------------------------------------------


class _OuterLibrary(JITCodeLibrary):
    """Functions are simplified by three passes each, and optimised once, with all that they call.

    Numba runs all of LLVM's passes over each function, too, and some more over the whole in search of references to
    count: a twelfth of a first call.
    """

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout
        builder = self._codegen._pass_builder()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes = create_new_function_pass_manager()
                passes.add_sroa_pass()
                passes.add_simplify_cfg_pass()
                passes.add_instruction_combine_pass()
                passes.run(function, builder)

    def _optimize_final_module(self):
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class _InnerLibrary(_OuterLibrary):
    """LLVM text that is linked into what stands on its own, and optimised there.

    Numba optimises every function by itself, with all that it calls, and makes machine code of it, and then again as a
    part of each caller: a fifth of a first call.
    """

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    @property
    def codegen(self):
        return self

    def set_env(self, name, env):
        """There is no machine code to tell of its environment; the functions raise and print nothing."""


class _InnerCodegen:
    """Numba's, but all libraries that it creates are linked into others."""

    def __init__(self, codegen):
        self._codegen = codegen

    def __getattr__(self, name):
        return getattr(self._codegen, name)

    def create_library(self, name):
        return _InnerLibrary(self._codegen, name)


class _ChooseLibrary(AnalysisPass):
    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return False


@register_pass(mutates_CFG=False, analysis_only=True)
class _ChooseOuterLibrary(_ChooseLibrary):
    _name, library = "fastgrad_choose_outer_library", _OuterLibrary


@register_pass(mutates_CFG=False, analysis_only=True)
class _ChooseInnerLibrary(_ChooseLibrary):
    _name, library = "fastgrad_choose_inner_library", _InnerLibrary


# --- what Numba does -------------------------------------------------------------------------------------------------


class _Remembering:
    """A typing context that looks up once what a function or an operator makes of given types. Numba tries twenty rules
    for each a + b: a tenth of a first call."""

    _answers: ClassVar[dict] = {}

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, func, args, kws):
        if kws or not isinstance(func, types.Function):
            return self._context.resolve_function_type(func, args, kws)
        question = func, tuple(args)
        if question not in self._answers:
            self._answers[question] = self._context.resolve_function_type(func, args, kws)
        return self._answers[question]


@register_pass(mutates_CFG=True, analysis_only=False)
class _InferTypes(NopythonTypeInference):
    _name = "fastgrad_infer_types"

    def run_pass(self, state):
        context, state.typingctx = state.typingctx, _Remembering(state.typingctx)
        try:
            return super().run_pass(state)
        finally:
            state.typingctx = context


class _WithDebugInfo(Lower):
    """Numba's, with a wrapper of our own."""

    def create_cpython_wrapper(self, release_gil=False):
        Wrapper(self).build_into(self.library)


class _Lower(_WithDebugInfo):
    """Numba's, without the sizes of variables, which only a debugger is told: LLVM reads a module for each."""

    def alloca_lltype(self, name, lltype, datamodel=None):
        return cgutils.alloca_once(self.builder, lltype, name=name)

    def storevar(self, value, name, argidx=None):
        if argidx is None or name in self._singly_assigned_vars:
            super().storevar(value, name)
        else:
            self._alloca_var(name, self.typeof(name))
            self.builder.store(value, self.getvar(name))


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerToLLVM(BaseNativeLowering):
    _name: str = "fastgrad_lower_to_llvm"  # type: ignore[assignment]

    @property
    def lowering_class(self):
        return _WithDebugInfo if config.DEBUGINFO_DEFAULT else _Lower


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerParallelToLLVM(NativeParforLowering):
    """Numba's, but what it makes of a prange, a loop and two layers around it, is optimised once, with the rest."""

    _name = "fastgrad_lower_parallel_to_llvm"

    def run_pass(self, state):
        context = state.targetctx
        state.targetctx = context.subtarget(_internal_codegen=_InnerCodegen(context.codegen()))
        try:
            return super().run_pass(state)
        finally:
            state.targetctx = context


class _Passes(PassManager):
    """Numba's passes, one after the other, without a check of the function after each, events and timers."""

    def _runPass(self, index, step, state):
        step.analysis = self._analysis
        for run in (step.run_initialization, step.run_pass, step.run_finalizer):
            run(state)


_REPLACED = {
    NopythonTypeInference: _InferTypes,
    NativeLowering: _LowerToLLVM,
    NativeParforLowering: _LowerParallelToLLVM,
}

# Of no use to functions that kernels are made of, and a fifth of the time: closures, generators, inlining before LLVM
# does it, array expressions, and as no references are counted, the ends of the lives of variables.
_SPARED = (
    DumpParforDiagnostics,
    FindLiterallyCalls,
    InlineClosureLikes,
    InlineInlinables,
    InlineOverloads,
    IRLegalization,
    IRProcessing,
    LiteralPropagationSubPipelinePass,
    LiteralUnroll,
    MakeFunctionToJitFunction,
    NoPythonSupportedFeatureValidation,
    NopythonRewrites,
    RewriteDynamicRaises,
    WithLifting,
)


class OuterCompiler(CompilerBase):
    """For an entry, into which its check is inlined, and for what is parallel."""

    library: type[_ChooseLibrary] = _ChooseOuterLibrary
    spared: tuple = ()

    def define_pipelines(self):
        numbas, passes = DefaultPassBuilder.define_nopython_pipeline(self.state), _Passes("fastgrad")
        passes.passes = [(_REPLACED.get(step, step), text) for step, text in numbas.passes if step not in self.spared]
        passes.add_pass_after(self.library, AnnotateTypes)
        passes.finalize()
        return [passes]


class PartCompiler(OuterCompiler):
    spared = _SPARED


class InnerCompiler(PartCompiler):
    library = _ChooseInnerLibrary
