"""`run-graph schedulers`: the samplers, and what one does at every call of the network."""

import argparse

from .shared import OK, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a sampler and what sets it, or nothing."""
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="name=value",
        help="steps=12, model=emoji-64, or a field of a scheduler_config.json",
    )


def run(given: argparse.Namespace) -> int:
    """Print the rows of one sampler, or the list."""
    from nodes.describe import describe_schedule, list_schedulers

    try:
        named = given.name is not None
        print(describe_schedule(given.name, *given.settings) if named else list_schedulers())
    except (ValueError, FileNotFoundError) as error:
        raise wrong(error) from error
    return OK
