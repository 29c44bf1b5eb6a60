"""What every verb shares: exit codes, and where the node types come from."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from graph import Finding, GraphError, open_all_packs

OK, FAILED, WRONG, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every verb has."""
    option = parser.add_argument
    option("--nodes", action="append", default=[], metavar="FILE", help="a file of your own nodes")
    option("--offline", action="store_true", help="use only what is on this machine")


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where graphs run, and how."""
    option = parser.add_argument
    option("--device", default="auto",
           help="cpu, cuda, cuda:1, mps (default: the fastest there is)")  # fmt: skip
    option("--dtype", default="auto",
           help="float32, bfloat16, float16 (default: the fastest sound one)")  # fmt: skip
    option("--compile", action="store_true",
           help="let PyTorch compile the networks that loops call")  # fmt: skip


def print_findings(findings: Iterable[Finding], stream: TextIO) -> None:
    """Print what is wrong, in colour on a terminal unless NO_COLOR is set (no-color.org)."""
    colour = is_colourful(stream)
    for finding in findings:
        print(finding.render(colour=colour), file=stream)


def wrong(message: object, help: str | None = None) -> GraphError:
    """Make the error of something that a person gave, with no place in a file."""
    return GraphError([Finding(None, str(message), help)])


def findings_as_data(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Describe what is wrong, for JSON."""
    described: list[dict[str, Any]] = []
    for finding in findings:
        place = finding.place
        where = {"file": place.file, "line": place.line, "column": place.column} if place else {}
        described.append({**where, "message": finding.message, "help": finding.advice})
    return described


def is_colourful(stream: TextIO) -> bool:
    """Tell whether colours may be printed."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def write_text(path: Path, text: str) -> None:
    """Write a file; raises GraphError where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"'{path}' cannot be written: {error.strerror}"
        raise GraphError([Finding(None, message)]) from error


def open_packs() -> None:
    """Register the node types of every installed pack, and say which cannot be imported."""
    print_findings(open_all_packs(), sys.stderr)


def prepare(given: argparse.Namespace) -> None:
    """Register the node types that come with run-graph, and those of the user's own files.

    Raises GraphError for a file that cannot be imported.
    """
    if given.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported
    import nodes  # noqa: F401  # pyright: ignore[reportUnusedImport]

    for file in given.nodes:
        # A name of its own: a file called nodes.py or json.py must not stand in for the real one.
        name = f"own_nodes_{Path(file).stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None or not Path(file).is_file():
            raise GraphError([Finding(None, f"--nodes: there is no Python file '{file}'")])
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # annotations are looked up there
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            message = f"--nodes: '{file}' cannot be imported: {type(error).__name__}: {error}"
            raise GraphError([Finding(None, message)]) from error
