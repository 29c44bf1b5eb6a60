"""Networks compiled for the machine by PyTorch's compiler, on request.

A network is compiled block by block, as it names them (`repeated_blocks`): the same few blocks
stand in it again and again, and each kind is compiled once, in a fraction of the time that the
whole takes. A network that names none is one block.
"""

import os
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from importlib import import_module
from typing import Annotated, Any, TypeVar, cast
from weakref import ref

import torch
from torch import Tensor, nn

from graph import Ambient, Call, node_type_of, user_cache

from .events import CompileRefused, Event, NetworkCompiled

Network = TypeVar("Network", bound=nn.Module)
Compile = Callable[[Any], Any]
"""Compiles a network, or those of a list; what is none stays as it is."""

SUFFIX = "/compiled"
"""What a call that compiles a network adds to the network's name."""
SIZES = 8
"""For so many sizes of its inputs a block is compiled; at others it runs as it is."""
FORMS = 1024
"""So many compiled forms PyTorch may keep: of each block one for each of its widths and sizes."""


def compiled(network: Any, compiler: Annotated[Compile | None, Ambient("compiler")] = None) -> Any:
    """Compile a network."""
    return network if compiler is None else compiler(network)


COMPILED = node_type_of(compiled)


class Compiler:
    """Compiles the networks of a session, and tells which, or why one runs as it is."""

    def __init__(self, tell: Callable[[Event], None], backend: Any = "inductor") -> None:
        self.tell, self.backend = tell, backend

    def __call__(self, call: Call) -> Compile:
        """Give what compiles the networks that a call is given."""
        return partial(self._compile, call.name.removesuffix(SUFFIX))

    def _compile(self, name: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._compile(name, item) for item in cast("list[Any]", value)]
        if not isinstance(value, nn.Module):
            return value
        network = _twin(value)
        health = _Health(lambda reason: self.tell(CompileRefused(name, reason)))
        blocks, function = _blocks(network), _compiling(_call, self.backend)
        for block in blocks:
            # What is set there, a copy of the module does not have: it would call this one.
            block._compiled_call_impl = _Block(block, function, health)  # pyright: ignore[reportPrivateUsage]
        self.tell(NetworkCompiled(name, Counter(type(block).__name__ for block in blocks)))
        return network


class _Health:
    """Whether the blocks of a network can be compiled; why not is told once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.fails, self.full = tell, False, False

    def fail(self, error: Exception) -> None:
        self.fails = True
        self.tell(first_words(error))

    def refuse_size(self) -> None:
        if not self.full:
            self.full = True
            self.tell(f"it was called with more than {SIZES} sizes, and is compiled for the first")


class _Block:
    """Calls a block compiled: not before its second call at a size, and not where that fails.

    On a CPU a layer may put its weights in order at the first call at a size.
    """

    def __init__(self, block: nn.Module, function: Callable[..., Any], health: _Health) -> None:
        self.block = ref(block)  # which holds this
        self.function, self.health = function, health
        self.sizes: set[tuple[torch.Size, ...]] = set()
        self.last: tuple[torch.Size, ...] | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        block = self.block()
        assert block is not None
        tensors = [it for it in (*arguments, *named.values()) if isinstance(it, Tensor)]
        if self._may_compile(tensors):
            try:
                return self.function(block, *arguments, **named)
            except Exception as error:
                self.health.fail(error)
        return _call(block, *arguments, **named)

    def _may_compile(self, tensors: list[Tensor]) -> bool:
        if self.health.fails or (
            torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        ):
            return False
        size = tuple(tensor.shape for tensor in tensors)
        if size not in self.sizes:
            if len(self.sizes) == SIZES:
                self.health.refuse_size()
                return False
            self.sizes.add(size)
        is_new, self.last = size != self.last, size
        return not (is_new and tensors and tensors[0].is_cpu)


def _call(block: Any, *arguments: Any, **named: Any) -> Any:
    return block._call_impl(*arguments, **named)


def _compiling(function: Callable[..., Any], backend: Any) -> Callable[..., Any]:
    # Whole or not at all: what asks the host for numbers would fall into pieces, each
    # compiled anew for other numbers.
    return torch.compile(function, backend=backend, dynamic=False, fullgraph=True)  # pyright: ignore[reportUnknownMemberType]


def _twin(network: Network) -> Network:
    """Copy a network but for its layers, which stay those of the other."""
    shared: dict[int, Any] = {id(it): it for it in (*network.parameters(), *network.buffers())}
    shared |= {id(module): module for module in network.modules() if not any(module.children())}
    return deepcopy(network, shared)


def _blocks(network: nn.Module) -> list[nn.Module]:
    kinds = cast("tuple[type[nn.Module], ...]", getattr(network, "repeated_blocks", ()))
    found = [module for module in network.modules() if isinstance(module, kinds)]
    return found or [network]


@cache
def why_not_compiled(device: torch.device) -> str:
    """Say why nothing can be compiled for a device, such as that no compiler is installed.

    Empty where it can. What was compiled is kept in the user's cache folder for later processes.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache() / "compiled"))
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")  # the default from 2.6 on
    try:
        _compiling(_doubled, "inductor")(torch.ones(1, device=device))
    except Exception as error:
        return first_words(error)
    config = import_module("torch._dynamo.config")
    for limit in ("cache_size_limit", "accumulated_cache_size_limit"):
        setattr(config, limit, FORMS)
    return ""


def _doubled(x: Tensor) -> Tensor:
    return 2 * x


def first_words(error: Exception) -> str:
    """Give the first paragraph of an error's text, in one line."""
    return " ".join(str(error).strip().partition("\n\n")[0].split()) or type(error).__name__
