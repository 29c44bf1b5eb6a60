"""`run-graph convert`: a checkpoint in another form."""

import argparse
import sys
from pathlib import Path

from .shared import FAILED, OK, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a checkpoint and where it goes."""
    option = parser.add_argument
    option("source", metavar="IN", help="a folder, a file or a repository")
    option("target", metavar="OUT", type=Path, help="a new .safetensors file, else a new folder")
    option("--dtype", choices=("float16", "bfloat16", "float32"), help="the precision of weights")
    option("--part", help="this network alone, such as vae")
    option("--family", help="what the file is, where its tensors do not say: sd2-base")


def run(given: argparse.Namespace) -> int:
    """Write it and print what was written."""
    from nodes.convert import convert

    try:
        print(convert(given.source, given.target, given.dtype, given.part, given.family))
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        raise wrong(error) from error
    except OSError as error:
        print(f"{given.target} was not written: {error}", file=sys.stderr)
        return FAILED
    return OK
