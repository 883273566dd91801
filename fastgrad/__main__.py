"""`python -m fastgrad`: the command line, a table of subcommands.

The module of a command gives `add_arguments(parser)` and `run(**options)`, which returns the exit status (None is 0);
it imports what its extra installs inside functions, so that `--help` works without.
"""

import argparse
import io
import os
import sys
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    """A subcommand: its module in this package, what `--help` says of it, and the extra that it needs, if any."""

    module: str
    help: str
    extra: str | None = None


COMMANDS = {
    "demo": Command(
        "_demo", "train a digit classifier by hand-written gradients, NumPy beside fastgrad (the default)", "demo"
    ),
    "bench": Command("_bench", "time every function beside NumPy and whatever else is installed", "bench"),
    "info": Command("_info", "versions, CPU, threads, cache, and what this machine can do at most"),
    "warmup": Command("_warmup", "compile everything ahead, for both dtypes, as a Dockerfile would"),
}


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):  # which may not know the signs of formulas
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    if options["command"] is None:
        options = vars(parser.parse_args([*arguments, "demo"]))
    name = options.pop("command")
    try:
        status = _module(COMMANDS[name]).run(**options)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        extra, missing = COMMANDS[name].extra, (error.name or "").partition(".")[0]
        if extra is None or missing in ("", "fastgrad"):
            raise
        print(f"The command {name} needs {missing}: pip install 'fastgrad[{extra}]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough; Python would fail once more when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status or 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m fastgrad", description=sys.modules["fastgrad"].__doc__)
    subparsers = parser.add_subparsers(dest="command", metavar="command")
    for name, command in COMMANDS.items():
        module = _module(command)
        subparser = subparsers.add_parser(
            name,
            help=command.help,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
    return parser


def _module(command):
    return import_module(f"fastgrad.{command.module}")


if __name__ == "__main__":
    sys.exit(main())
