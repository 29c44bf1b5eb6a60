"""`run-graph replay`: a picture once more, from what it says of itself."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from graph import Finding, GraphError, parse_inputs

from ..errors import RunError
from ..memory.rungs import RUNGS
from ..place import choose_device
from ..plan import ALL
from ..progress import Progress
from ..provenance.compare import Recorded, changes, drift, parse_record
from ..provenance.replay import NotRemade, recorded_graph, recorded_inputs, remake
from ..session import Session
from .shared import FAILED, OK, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a picture, inputs that are to be others, and where the new picture goes."""
    option = parser.add_argument
    option("picture", metavar="PICTURE", type=Path, help="a picture that run-graph saved")
    option("inputs", nargs="*", metavar="name=value",
           help="inputs that are to be others: what is made is a variation then")  # fmt: skip
    option("--to", metavar="FILE", help="save what was made; without it nothing is saved")
    option("--device", help="another than it was made on")
    option("--dtype", help="another precision than it was made in")


def run(given: argparse.Namespace) -> int:
    """Make the picture again and say whether it is the same or what drifted; or a variation."""
    record = picture_record(given.picture)
    graph = recorded_graph(record)
    others = parse_inputs(graph, given.inputs)
    inputs = recorded_inputs(record, graph, others)
    try:
        session = _session(record, given)
    except ValueError as error:
        raise wrong(error) from error
    try:
        made = remake(record, graph, inputs, session)
    except (RunError, NotRemade) as error:
        print(error, file=sys.stderr)
        return FAILED
    arguments = dict(made.arguments)
    now = parse_record({**arguments["provenance"](), "pixels": ""}, "this run")
    drifted = drift(record, now)
    if varied := _variation(record, now, others):
        same = True  # as it was asked for
        print(f"{given.picture}: a variation was made")
    else:
        same = _compare(given.picture, record, _pictures(arguments))
    for line in [*varied, *drifted]:
        print(f"  {line}")
    if varied and not given.to:
        print("  it was not saved: give --to FILE")
    if not same and not drifted:
        print("  nothing that was recorded drifted: the picture or its record was changed")
    if given.to:
        saved = made.call.node.function(**arguments | {"path": given.to})
        paths = cast("list[Path]", saved if isinstance(saved, list) else [saved])
        print(f"saved {', '.join(map(str, paths))}")
    return OK if same else FAILED


def picture_record(file: Path) -> Recorded:
    """Read the record in a picture; raises GraphError where there is none."""
    from nodes.metadata import read_record

    try:
        data = read_record(file)
    except (OSError, ValueError) as error:
        raise GraphError([Finding(None, f"{file} cannot be read: {error}")]) from error
    if data is None:
        message = f"{file} does not say how it was made"
        help = "it was saved with `metadata: false`, or by another program"
        raise GraphError([Finding(None, message, help)])
    return parse_record(data, str(file))


def _session(record: Recorded, given: argparse.Namespace) -> Session:
    device = given.device or str(record.machine.get("device", "auto"))
    try:
        choose_device(device)
    except ValueError:
        if given.device:
            raise
        device = "auto"
    threads = record.machine.get("threads")
    if isinstance(threads, int) and 0 < threads <= 1024:
        torch.set_num_threads(threads)  # it may change the last bits
    dtype = given.dtype or str(record.machine.get("dtype", "auto"))
    passes = [name for name in ALL if name in record.passes]
    savings = [saving for saving in record.savings if saving.rung in RUNGS]
    return Session(device, dtype, Progress(sys.stderr), passes, cache=None, savings=savings)


def _variation(then: Recorded, now: Recorded, names: Iterable[str]) -> list[str]:
    """Say, a line each, which of the inputs of these names are others; folders do not count."""
    sides = [
        {name: record.inputs[name] for name in names if name in record.inputs}
        for record in (then, now)
    ]
    return changes(*sides)


def _pictures(arguments: Mapping[str, Any]) -> list[Any]:
    from nodes.image import pictures_of

    images = arguments["frames"] if "frames" in arguments else [arguments["image"]]
    return [picture for image in images for picture in pictures_of(image)]


def _compare(file: Path, record: Recorded, made: list[Any]) -> bool:
    """Compare the pixels of a file, of its record and of what was made; print how they stand."""
    from nodes.metadata import pixel_difference, pixel_digest, stored_picture

    now = made if record.picture is None else made[record.picture : record.picture + 1]
    stored = stored_picture(file)
    if stored and pixel_digest([stored]) != record.pixels:
        print(f"{file}: its pixels were changed after it was saved")
    if pixel_digest(now) == record.pixels:
        print(f"{file}: made again, bit-equal")
        return True
    apart = f": {pixel_difference(stored, now[0])}" if stored and now else ""
    print(f"{file}: made again, and it is another{apart}")
    return False
