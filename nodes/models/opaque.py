"""Functions that PyTorch's compiler calls as they are, and does not look into."""

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[..., Tensor]


def opaque(schema: str, function: Function, outline: Function) -> Function:
    """Give a function that is one operator to the compiler, and itself to everybody else.

    `schema` is what `torch.library.define` takes; `outline` gives an empty tensor as the function
    would give one: of its shape, precision and layout.
    """
    name = function.__name__.strip("_")
    torch.library.define(f"run_graph::{name}", schema)
    torch.library.impl(f"run_graph::{name}", "default", function)
    torch.library.register_fake(f"run_graph::{name}", outline)
    operator = getattr(torch.ops.run_graph, name)

    def call(*arguments: object) -> Tensor:
        return (operator if torch.compiler.is_compiling() else function)(*arguments)

    return call
