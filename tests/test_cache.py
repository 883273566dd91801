"""The disk cache with real files and processes: it is used, an edit empties it, and what cannot be used is no harm."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from subprocesses import run

CALL = """
    import numpy as np, fastgrad as fg
    from fastgrad.kernels import activations, _cache
    dY = np.arange(3.0)
    result = fg.tanh_vjp(dY, np.full_like(dY, 0.5))
    entry = activations.tanh_vjp.dispatchers["entry"]
    hits, misses = sum(entry.stats.cache_hits.values()), sum(entry.stats.cache_misses.values())
    print(hits, misses, result.tolist(), _cache.directory())
"""
RIGHT, EDITED = "[0.0, 0.75, 1.5]", "[0.0, 1.5, 3.0]"
TIMES = "_operator(operator.mul, ir.IRBuilder.fmul,"
TWICE_TIMES = "_operator(operator.mul, lambda b, x, y: b.fadd(b.fmul(x, y), b.fmul(x, y)),"


def call(package, **environment):
    hits, misses, rest = run(CALL, package.parent, **environment).split(" ", 2)
    result, directory = rest.rsplit(" ", 1)
    assert result in (RIGHT, EDITED)
    return (int(hits), int(misses)), result, directory


def test_a_second_process_compiles_nothing(package):
    (first, result, directory), (second, _, _) = call(package), call(package)
    assert directory == str(package / "kernels" / "__pycache__")
    assert result == RIGHT
    assert first == (0, 1)
    assert second == (1, 0)


def test_an_edit_in_a_callee_compiles_anew(package):
    """Multiplication stands in another file than the kernel that is cached; after the edit it gives twice as much."""
    call(package)
    simd = package / "kernels" / "_simd.py"
    text = simd.read_text()
    assert TIMES in text
    simd.write_text(text.replace(TIMES, TWICE_TIMES))
    assert call(package)[:2] == ((0, 1), EDITED)
    simd.write_text(text)
    assert call(package)[1] == RIGHT


def test_numba_cache_dir_comes_first(package, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    assert call(package, NUMBA_CACHE_DIR=str(elsewhere))[2] == str(elsewhere / "fastgrad")
    assert call(package, NUMBA_CACHE_DIR=str(elsewhere))[0] == (1, 0)
    assert not (package / "kernels" / "__pycache__").exists()


def test_an_install_that_cannot_be_written_uses_the_users_cache(package, tmp_path):
    (package / "kernels" / "__pycache__").write_text("a file where the directory would be")
    home = {"XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    assert call(package, **home)[2].startswith(str(tmp_path / "home"))
    assert call(package, **home)[0] == (1, 0)


def test_nowhere_to_write_at_all(package, tmp_path):
    (package / "kernels" / "__pycache__").write_text("a file where the directory would be")
    (tmp_path / "home").write_text("and another")
    home = {"XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    for _ in range(2):
        counts, result, directory = call(package, **home)
        assert directory == "None"
        assert counts[0] == 0
        assert result == RIGHT


def test_without_a_home_nothing_is_written_into_the_working_directory(package):
    """Neither HOME nor an entry in the password file: then ~ stands for nothing."""
    (package / "kernels" / "__pycache__").write_text("a file where the directory would be")
    code = """
        import os, pwd
        for name in ("HOME", "XDG_CACHE_HOME"):
            os.environ.pop(name, None)
        def getpwuid(uid):
            raise KeyError(uid)
        pwd.getpwuid = getpwuid
        import numpy as np, fastgrad as fg
        from fastgrad.kernels import _cache
        print(_cache.directory(), fg.tanh_vjp(np.ones(2), np.full(2, 0.5)).tolist(), os.path.exists("~"))
    """
    assert run(code, package.parent) == "None [0.75, 0.75] False"


DTYPES = """
    import numpy as np, fastgrad as fg
    from fastgrad.kernels import activations
    for dtype in ("f4", "f8"):
        assert fg.tanh_vjp(np.ones(2, dtype), np.full(2, 0.5, dtype)).tolist() == [0.75, 0.75]
    print(sum(activations.tanh_vjp.dispatchers["entry"].stats.cache_hits.values()))
"""


def test_cold_processes_at_once(package):
    """On an empty cache, for the same kernel and for another dtype of it; afterwards it holds both."""
    codes = [CALL, CALL, CALL.replace("3.0", "3, dtype='f4'"), CALL.replace("3.0", "3, dtype='f4'")]
    with ThreadPoolExecutor(len(codes)) as pool:
        for answer in pool.map(lambda code: run(code, package.parent), codes):
            assert f" {RIGHT} " in answer
    assert run(DTYPES, package.parent) == "2"


def test_machine_code_of_another_version_is_not_run(package):
    """Though the index says that it is of this one, as when two versions save at the same time."""
    call(package)
    folder = package / "kernels" / "__pycache__"
    (index,) = folder.glob("*tanh_vjp-*entry-float64*.nbi")
    ours = index.read_bytes()
    simd = package / "kernels" / "_simd.py"
    simd.write_text(simd.read_text() + "# edited\n")
    call(package)
    index.write_bytes(ours)
    simd.write_text(simd.read_text().removesuffix("# edited\n"))
    assert call(package)[0] == (0, 1)
    assert call(package)[0] == (1, 0)


def test_an_upgrade_while_a_process_runs(package):
    """What was imported before the upgrade and compiled after it is not taken for the new version."""
    simd = package / "kernels" / "_simd.py"
    new = simd.read_text().replace(TIMES, TWICE_TIMES)
    assert new != simd.read_text()
    code = """
        import numpy as np, fastgrad as fg
        from pathlib import Path
        Path("fastgrad/kernels/_simd.py").write_text(Path("new.py").read_text())
        print(fg.tanh_vjp(np.ones(2), np.full(2, 0.5)).tolist())
    """
    (package.parent / "new.py").write_text(new)
    assert run(code, package.parent) == "[0.75, 0.75]"
    assert call(package)[:2] == ((0, 1), EDITED)


def test_a_moved_install_keeps_its_cache(package, tmp_path):
    call(package)
    elsewhere = tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    moved = package.rename(elsewhere / "fastgrad")
    counts, result, directory = call(moved)
    assert (counts, result) == ((1, 0), RIGHT)
    assert directory == str(moved / "kernels" / "__pycache__")


def test_a_zipped_install_uses_the_users_cache(package, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "fastgrad")
    shutil.rmtree(package)
    home = {"XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    for expected in ((0, 1), (1, 0)):
        hits, misses, rest = run(CALL, tmp_path, PYTHONPATH=archive, **home).split(" ", 2)
        assert (int(hits), int(misses)) == expected
        assert rest.startswith(f"{RIGHT} {tmp_path / 'home'}")


WARNINGS = """
    import warnings
    warnings.simplefilter("always")
    with warnings.catch_warnings(record=True) as seen:
        import numpy as np, fastgrad as fg
        results = [fg.tanh_vjp(np.ones(2, dtype), np.full(2, 0.5, dtype)).tolist() for dtype in ("f4", "f8")]
    assert results == [[0.75, 0.75]] * 2
    print(sum("NUMBA_CACHE_DIR" in str(w.message) for w in seen), len(seen))
"""


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("kept", [0, -1])
def test_a_damaged_cache_is_compiled_over_with_one_warning(package, ending, kept):
    """Files cut off: all of them, at the beginning, or by their last byte."""
    run(DTYPES, package.parent)
    for file in (package / "kernels" / "__pycache__").glob(f"*{ending}"):
        file.write_bytes(file.read_bytes()[:kept])
    of_tanh_vjp = """
        from fastgrad.kernels.activations import tanh_vjp
        from numba.core.registry import cpu_target
        codegen = cpu_target.target_context.codegen()
        print([tanh_vjp.dispatchers["entry"]._cache.has(dtype, codegen) for dtype in ("float32", "float64")])
    """
    assert run(of_tanh_vjp, package.parent) == str([ending == ".nbc"] * 2)  # of which the index tells alone
    assert run(WARNINGS, package.parent) == "1 1"
    assert run(DTYPES, package.parent) == "2"


def test_a_full_disk_is_no_harm_but_for_one_warning(package):
    """No file may grow beyond 1000 bytes."""
    limit = "    import resource\n    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    assert run(limit + WARNINGS.lstrip("\n"), package.parent) == "1 1"
    assert run(limit + WARNINGS.lstrip("\n"), package.parent) == "1 1"
    assert run(WARNINGS, package.parent) == "0 0"


def test_what_cannot_be_saved_is_no_harm(tmp_path):
    """Without optimisation, some machine code holds addresses of this process: Numba says so, and runs it."""
    code = """
        import numpy as np, fastgrad as fg
        print(fg.cross_entropy(np.zeros((2, 3)), np.array([0, 1])) - np.log(3))
    """
    assert abs(float(run(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_OPT="0"))) < 1e-15
