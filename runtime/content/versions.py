"""What decides a result besides the graph: code, libraries, and the machine it runs on."""

from __future__ import annotations

import ast
import hashlib
import platform
import re
import sys
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

from graph import NodeType

OURS = ("graph", "nodes", "runtime")


@cache
def library_versions() -> dict[str, str]:
    """Give the versions of Python, of run-graph and of what it needs."""
    needed = [
        re.split(r"[^\w-]", entry)[0] for entry in requires("run-graph") or () if ";" not in entry
    ]
    found = {"python": platform.python_version()}
    for name in ("run-graph", *sorted(needed)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_facts(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Say where networks run, as far as it may change the last bits of a result."""
    facts: dict[str, Any] = {"device": device.type, "dtype": str(dtype).removeprefix("torch.")}
    if device.type == "cuda":
        facts["processor"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
        facts["cudnn"] = torch.backends.cudnn.version()
    elif device.type == "cpu":
        facts["processor"] = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        facts["threads"] = torch.get_num_threads()
    return facts


@cache
def own_code() -> str:
    """Give the SHA-256 of run-graph's own code, as it is when this is first asked."""
    whole = hashlib.sha256()
    for package in OURS:
        module = sys.modules.get(package)
        folders = sorted(getattr(module, "__path__", ()))
        for file in sorted(file for folder in folders for file in Path(folder).rglob("*")):
            if file.suffix in (".py", ".yaml"):
                whole.update(file.read_bytes())
    return whole.hexdigest()


def is_ours(node: NodeType) -> bool:
    """Tell whether a node comes with run-graph."""
    return node.module.split(".")[0] in OURS


def code_of(node: NodeType) -> str | None:
    """Give the SHA-256 of a node's code: of its file, and of the files beside it that it imports.

    None where there is no file to tell one version from another.
    """
    if is_ours(node):
        return own_code()
    if node.source is None or node.digest is None:
        return None
    return _code(node.source, node.digest)


@cache
def _code(file: Path, digest: str) -> str:
    seen: dict[Path, str] = {file: digest}
    left = [file]
    while left:
        for other in _imports(left.pop()):
            if other not in seen:
                seen[other] = hashlib.sha256(other.read_bytes()).hexdigest()
                left.append(other)
    return hashlib.sha256("".join(sorted(seen.values())).encode()).hexdigest()


def _imports(file: Path) -> list[Path]:
    """Find the loaded modules that a file imports and that belong to no installed package."""
    names: set[str] = set()
    for found in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(found, ast.Import):
            names |= {alias.name for alias in found.names}
        elif isinstance(found, ast.ImportFrom) and found.module and not found.level:
            names.add(found.module)
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    modules = [sys.modules.get(name) for name in names if name.split(".")[0] not in OURS]
    named = [getattr(module, "__file__", None) for module in modules]  # built-in ones have none
    files = [Path(name) for name in named if name]
    return [
        file for file in files
        if file.suffix == ".py" and not any(file.is_relative_to(folder) for folder in installed)
    ]  # fmt: skip
