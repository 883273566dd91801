"""The command line as it is used: in a terminal, in a pipe, without what its extras bring."""

import json
import re
import subprocess
import sys

import pytest
from subprocesses import PACKAGE, run

from fastgrad import __main__ as command_line
from fastgrad._bench import measurement, peers
from fastgrad._bench.limits import Limits
from fastgrad._functions import FUNCTIONS


def started(*arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, "-m", "fastgrad", *arguments], cwd=PACKAGE.parent, **options)


def finished(*arguments):
    """(exit status, output, errors) of `python -m fastgrad …` with its output in a pipe."""
    process = started(*arguments)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Every function on the smallest shapes beside all that is installed: (what is printed, what is stored)."""
    folder = tmp_path_factory.mktemp("bench")
    status, output, errors = finished(
        *("bench", "--shapes", "7,6x5,6x5x4", "--seconds", "0", "--rounds", "1"),
        *("--json", str(folder / "result.json"), "--plot", str(folder / "result.png")),
    )
    assert (status, errors) == (0, "")
    assert (folder / "result.png").read_bytes().startswith(b"\x89PNG")
    return output, json.loads((folder / "result.json").read_text()), folder / "result.json"


@pytest.mark.parametrize("name", [[], *([name] for name in command_line.COMMANDS)])
def test_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main([*name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m fastgrad {' '.join(name)}".strip() in text
    assert name or all(re.search(rf"^ +{command} +\w", text, re.MULTILINE) for command in command_line.COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["bench", "--dtype", "float16"],
        ["bench", "--threads", "0"],
        ["bench", "--rounds", "0"],
        ["bench", "--seconds", "-1"],
        ["bench", "--seconds", "nan"],
        ["bench", "--json", "nowhere/result.json"],
        ["bench", "--plot", "result.txt"],
        ["demo", "--epochs", "-3"],
        ["warmup", "--jobs", "x"],
        ["bench", "--shapes", "3xx4"],
        ["bench", "--shapes", "0"],
        ["bench", "--functions", "softmin"],
        ["bench", "--peers", "fortran"],
    ],
)
def test_wrong_arguments_are_named(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "arguments"), [("rich", ["bench"]), ("matplotlib", ["bench", "--plot", "never.png"])]
)
def test_bench_says_what_to_install(missing, arguments):
    code = f"""
        import sys
        sys.modules[{missing!r}] = None
        from fastgrad.__main__ import main
        sys.stderr = sys.stdout
        print(main({arguments!r}))
    """
    message, status = run(code).splitlines()
    assert message == f"The command bench needs {missing}: pip install 'fastgrad[bench]'"
    assert status == "1"


def test_help_and_info_need_no_extra():
    code = """
        import sys
        sys.modules["rich"] = sys.modules["matplotlib"] = sys.modules["sklearn"] = None
        from fastgrad.__main__ import main
        print(main(["info", "--no-limits"]))
        main(["--help"])
    """
    assert "\n0\nusage: " in run(code)


def test_bench_shows_every_function_on_every_shape(measured):
    output, stored, _ = measured
    for function in FUNCTIONS.values():
        shape = ("7", "6x5", "6x5x4")[len(function.sizes)]
        (row,) = [row for row in stored["rows"] if row["function"] == function.name]
        assert row["shape"] == shape
        assert {"fastgrad", "numpy"} <= set(row["times"])
        assert all(seconds > 0 for seconds in (row["limit"], *row["times"].values()))
        assert re.search(rf"^│ {function.name} +│", output, re.MULTILINE)
    assert "\x1b" not in output
    assert set(stored) >= {"machine", "versions", "threads", "date", "command", "limits", "foreign"}
    assert stored["command"].startswith("python -m fastgrad bench --shapes 7,6x5,6x5x4 ")
    assert stored["failures"] == {}


def test_limits_are_the_higher_ones_of_two_measurements():
    one = Limits(2, {"float32": 8.0, "float64": 3.0}, [(64, 5.0), (128, 6.0)])
    other = Limits(2, {"float32": 7.0, "float64": 4.0}, [(64, 4.0), (128, 9.0)])
    for limits in (one.or_higher(other), other.or_higher(one)):
        assert limits == Limits(2, {"float32": 8.0, "float64": 4.0}, [(64, 5.0), (128, 9.0)])
        assert limits.seconds("float64", flops=8, nbytes=9) == 2  # bound by its multiply-adds
        assert limits.seconds("float32", flops=8, nbytes=18) == 18 / limits.bandwidth(18) > 1  # by memory


def test_every_library_computes_the_same(measured):
    """A bound that no right formula misses on these few small numbers, and no wrong one meets."""
    _, stored, _ = measured
    assert set(peers.installed()) - {"numpy-avx512"} <= {name for row in stored["rows"] for name in row["times"]}
    for row in stored["rows"]:
        assert set(row["errors"]) == set(row["times"])
        assert all(error < 1000 for error in row["errors"].values()), row


def test_a_stored_result_is_shown_again(measured):
    output, _, file = measured
    status, again, errors = finished("bench", "--load", str(file))
    assert (status, errors) == (0, "")
    assert again == output


def test_a_file_that_is_none_fails(tmp_path):
    status, _, errors = finished("bench", "--load", str(tmp_path / "none.json"))
    assert status == 1
    assert "none.json cannot be read" in errors
    (tmp_path / "other.json").write_text("[]")
    status, _, errors = finished("bench", "--load", str(tmp_path / "other.json"))
    assert status == 1
    assert "other.json holds no result" in errors


def test_a_terminal_that_knows_no_sign_of_a_formula():
    code = """
        from fastgrad.__main__ import main
        main(["info", "--no-limits"])
        main(["bench", "--help"])
    """
    assert "rows?vectors" in run(code, PYTHONIOENCODING="ascii")


def test_a_library_that_fails_is_told_of():
    worker = measurement.Worker("fortran", [], {})
    try:
        with pytest.raises(measurement.WorkerError, match="IndexError"):
            worker.ask(case=0, seconds=0.0)
    finally:
        worker.close()


def test_one_thread_and_float64():
    code = """
        import json, sys
        from fastgrad._bench.measurement import run
        result = run(["float64"], threads=1, functions=["affine_db"], shapes=["6x5"], seconds=0.0, rounds=1)
        (row,) = result["rows"]
        print(result["threads"], result["failures"], max(row["errors"].values()) < 2)
    """
    assert run(code) == "1 {} True"


def test_info_says_what_is_there():
    status, output, errors = finished("info")
    assert (status, errors) == (0, "")
    for line in ("numba", "compiled for", "tiles, rows×vectors", "threading layer", "fork-safe", "thread-safe"):
        assert re.search(rf"^  {line} +\S", output, re.MULTILINE), line
    assert re.search(r"^  state +\d+ of \d+ binaries", output, re.MULTILINE)
    assert re.search(r"^  multiply-adds +\d+ Gflop/s float32 and \d+ Gflop/s float64$", output, re.MULTILINE)


def test_a_reader_that_goes_away_is_no_error():
    process = started("info", "--no-limits")
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert errors == ""
