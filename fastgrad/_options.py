"""What the options of the command line may be."""

import math
import os
from argparse import ArgumentTypeError


def count(text):
    """A number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


def seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def file_to_write(text, endings=("",)):
    """The name of a file that can be written: it is, after minutes of measuring."""
    if not text.endswith(endings):
        raise ArgumentTypeError(f"{text} does not end in {', '.join(endings)}")
    there = os.path.exists(text)
    if os.path.isdir(text) or not os.access(text if there else os.path.dirname(os.path.abspath(text)), os.W_OK):
        raise ArgumentTypeError(f"{text} cannot be written")
    return text


def picture_to_write(text):
    return file_to_write(text, (".png", ".svg", ".pdf"))
