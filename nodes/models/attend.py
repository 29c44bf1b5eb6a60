"""The attention kernel, chosen by what was measured on each kind of machine."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import for_all
from .opaque import opaque

# How many scores are held at once, of as many heads as that makes: two megabytes of bfloat16.
SCORES_AT_ONCE = 2**20
# PyTorch's softmax of bfloat16 takes so many numbers of a row at a time, and the rest one by one.
TOGETHER = 32


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Mix values (B, heads, M, width) by how well keys fit queries (B, heads, N, width).

    A batch of one serves all pictures of the others.
    PyTorch's fused kernel everywhere, except in bfloat16 on a CPU, where plain multiplications
    over as many heads and queries as fit the cache are about twice as fast (docs/performance.md).
    """
    queries, keys, values = for_all(queries, keys, values)
    learns = any(it.requires_grad for it in (queries, keys, values))
    needs_gradient = torch.is_grad_enabled() and learns
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16 or needs_gradient:
        return F.scaled_dot_product_attention(queries, keys, values)
    return attend_in_chunks(queries, keys, values)


def _attend_in_chunks(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    batch, heads, count, width = queries.shape
    total, known = batch * heads, keys.shape[2]
    flat_queries = queries.reshape(total, count, width)
    flat_keys = (keys * width**-0.5).reshape(total, known, width)
    flat_values = values.reshape(total, known, width)
    mixed = torch.empty_like(flat_queries)
    rows = min(max(SCORES_AT_ONCE // known, 64), count)
    together = max(SCORES_AT_ONCE // (rows * known), 1)
    for head in range(0, total, together):
        some = slice(head, head + together)
        for row in range(0, count, rows):
            part = flat_queries[some, row : row + rows]
            fit = _fit(part, flat_keys[some])
            torch.bmm(fit, flat_values[some], out=mixed[some, row : row + rows])
    return mixed.view(batch, heads, count, width)


def _fit(queries: Tensor, keys: Tensor) -> Tensor:
    """Share out each query (B, N, width) among the keys (B, M, width), as (B, N, M)."""
    if keys.shape[1] % TOGETHER:  # as the 77 of a text: down the columns no number is left over
        scores = torch.bmm(keys, queries.mT)
        return torch.softmax(scores, 1, out=scores).mT
    scores = torch.bmm(queries, keys.mT)
    return torch.softmax(scores, 2, out=scores)


def _mixed(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # noqa: ARG001
    batch, heads, count, width = queries.shape
    # Strides, too, are those of the queries, which a batch of one leaves as they lie.
    return torch.empty_like(queries.reshape(batch * heads, count, width)).view(queries.shape)


# To the compiler it is a whole: it would write out every chunk.
attend_in_chunks = opaque(
    "(Tensor queries, Tensor keys, Tensor values) -> Tensor", _attend_in_chunks, _mixed
)
