"""The Muon optimiser: steps whose singular values are all about one.

Kept here because torch's own takes matrices only, and convolutions are most of what is trained.
"""

import torch
from torch import Tensor, nn

# The quintic that pushes singular values towards one (K. Jordan et al., 2024, "Muon").
QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum, then the nearest orthogonal matrix of every weight's step."""

    def __init__(self, weights: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one step with the gradients that the weights have."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                rows, columns = ahead.shape
                scale = max(1, rows / columns) ** 0.5
                weight.sub_(orthogonal(ahead).reshape(weight.shape), alpha=group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix near one, by five steps of Newton and Schulz."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    a, b, c = QUINTIC
    x = (wide / (wide.norm() + 1e-7)).bfloat16()  # it need not be exact
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Divide the weights: hidden matrices and convolutions, and what is left for AdamW."""
    hidden: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        edge = any(part in name for part in ("conv_in", "conv_out", "embedding"))
        (other if weight.ndim < 2 or edge else hidden).append(weight)
    return hidden, other
