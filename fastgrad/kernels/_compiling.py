"""How Numba is spared work that a first call would wait for in vain: the machine code is the same.

What is called from Python is compiled `uncollected`, inner functions by `InnerCompiler`.
"""

import gc
from typing import ClassVar

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import (
    AnnotateTypes,
    InlineOverloads,
    IRLegalization,
    NopythonRewrites,
    NopythonTypeInference,
)
from numba.core.untyped_passes import InlineClosureLikes, InlineInlinables, LiteralUnroll, WithLifting


def uncollected(compile_):
    """Numba's method, with the garbage collector paused: it would look at a million objects again and again, of which
    most live until all is compiled. A tenth of a first call."""

    def compile_uncollected(sig):
        with global_compiler_lock:  # one after the other: whoever comes later finds the collector as it was
            enabled = gc.isenabled()
            gc.disable()
            try:
                return compile_(sig)
            finally:
                if enabled:
                    gc.enable()

    return compile_uncollected


class _InnerLibrary(JITCodeLibrary):
    """LLVM text that is linked into the kernels and optimised there.

    Numba optimises every function by itself, with all that it calls, and makes machine code of it, and then again as a
    part of each caller. Only what is called from Python needs that: a fifth of a first call is saved.
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


@register_pass(mutates_CFG=False, analysis_only=True)
class _ChooseLibrary(AnalysisPass):
    _name = "fastgrad_choose_library"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        state.library = _InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


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


# Of no use to inner functions, and a sixth of the time: closures, inlining before LLVM does it, array expressions, and
# where no references are counted, the ends of the lives of variables.
_SPARED = (WithLifting, InlineClosureLikes, InlineInlinables, InlineOverloads, LiteralUnroll, NopythonRewrites)
_SPARED_UNCOUNTED = (*_SPARED, IRLegalization)


class InnerCompiler(CompilerBase):
    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        spared = _SPARED if self.state.flags.nrt else _SPARED_UNCOUNTED
        passes.passes[:] = [
            (_InferTypes if step is NopythonTypeInference else step, text)
            for step, text in passes.passes
            if step not in spared
        ]
        passes.add_pass_after(_ChooseLibrary, AnnotateTypes)
        passes.finalize()
        return [passes]
