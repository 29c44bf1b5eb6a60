"""What decides a result besides the graph: code, libraries, and the machine it runs on."""

from __future__ import annotations

import ast
import hashlib
import platform
import re
import sys
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

import torch

from graph import NodeType, pack_of

OURS = ("graph", "nodes", "runtime")
EXTRAS = ("edges", "watermark")
"""What may be installed beside run-graph, and nodes then call."""


@cache
def library_versions() -> dict[str, str]:
    """Give the versions of Python, of run-graph and of what its nodes need."""
    asked = re.compile(rf"([\w-]+)[^;]*(;.*extra == .({'|'.join(EXTRAS)}).)?")
    needed = [
        found[1] for entry in requires("run-graph") or () if (found := asked.fullmatch(entry))
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
    return _made_of(node.source, node.digest, node.module)[0]


def libraries_of(node: NodeType) -> dict[str, str]:
    """Give the versions of the pack that a node comes with, and of what its code imports.

    Those of our own nodes are among `library_versions`.
    """
    if is_ours(node) or node.source is None or node.digest is None:
        return {}
    found = {name: version(name) for name in _made_of(node.source, node.digest, node.module)[1]}
    pack = pack_of(node.name)
    return found | ({pack.name: pack.version} if pack else {})


@cache
def _made_of(file: Path, digest: str, module: str) -> tuple[str, tuple[str, ...]]:
    """Give the SHA-256 of a file and of those beside it, and the libraries that these import."""
    digests: dict[Path, str] = {file: digest}
    libraries: set[str] = set()
    left = [(file, module)]
    while left:
        for name in _imports(*left.pop()):
            first = name.partition(".")[0]
            whole, part = _file_of(first), _file_of(name)
            if whole is None or first in sys.stdlib_module_names or first in OURS:
                continue
            if any(whole.is_relative_to(folder) for folder in _installed()):
                libraries |= set(_distributions(first))
            elif part and part.suffix == ".py" and part not in digests:
                digests[part] = hashlib.sha256(part.read_bytes()).hexdigest()
                left.append((part, name))
    code = hashlib.sha256("".join(sorted(digests.values())).encode()).hexdigest()
    return code, tuple(sorted(libraries))


def _imports(file: Path, module: str) -> set[str]:
    """Name the modules that a file imports; `from a import b` may be `a` alone, or `a.b` too."""
    package = getattr(sys.modules.get(module), "__package__", None)
    names: set[str] = set()
    for found in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(found, ast.Import):
            names |= {alias.name for alias in found.names}
        elif isinstance(found, ast.ImportFrom) and (package or not found.level):
            base = resolve_name("." * found.level + (found.module or ""), package)
            names |= {base, *(f"{base}.{alias.name}" for alias in found.names)}
    return names


def _file_of(module: str) -> Path | None:
    """Find the file of a module without importing it; built-in ones have none."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file) if file else None
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


@cache
def _installed() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))


@cache
def _distributions(module: str) -> tuple[str, ...]:
    """Name the distributions that a module of this name comes with; most are called like it."""
    try:
        version(module)
    except PackageNotFoundError:
        return tuple(packages_distributions().get(module, ()))
    return (module,)
