"""`run-graph inspect`: what a checkpoint is."""

import argparse
import json

from .shared import OK, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a checkpoint."""
    parser.add_argument("model", metavar="CHECKPOINT", help="a folder, a file or a repository")
    parser.add_argument("--json", action="store_true", help="print it for programs")


def run(given: argparse.Namespace) -> int:
    """Print the family, the parts and their sizes."""
    from nodes.inspect import describe_checkpoint, inspect_checkpoint

    try:
        report = inspect_checkpoint(given.model)
    except (ValueError, FileNotFoundError) as error:
        raise wrong(error) from error
    print(json.dumps(report, indent=2) if given.json else describe_checkpoint(report))
    return OK
