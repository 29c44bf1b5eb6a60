"""The attention kernel, chosen by what was measured on each kind of machine."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import for_all
from .opaque import opaque

# How many scores of one head are held at once: a quarter of a megabyte of bfloat16 stays in cache.
SCORES_AT_ONCE = 2**17


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Mix values (B, heads, M, width) by how well keys fit queries (B, heads, N, width).

    A batch of one serves all pictures of the others.
    PyTorch's fused kernel everywhere, except in bfloat16 on a CPU, where plain multiplications
    over as many queries as fit the cache are about twice as fast (docs/performance.md).
    """
    queries, keys, values = for_all(queries, keys, values)
    needs_gradient = torch.is_grad_enabled() and queries.requires_grad
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16 or needs_gradient:
        return F.scaled_dot_product_attention(queries, keys, values)
    return attend_in_chunks(queries, keys, values)


def _attend_in_chunks(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    batch, heads, count, width = queries.shape
    chunk = max(SCORES_AT_ONCE // keys.shape[2], 64)
    flat_queries = queries.reshape(batch * heads, count, width)
    flat_keys = keys.reshape(batch * heads, -1, width).mT
    flat_values = values.reshape(batch * heads, -1, width)
    mixed = torch.empty_like(flat_queries)
    scale = width**-0.5
    nothing = queries.new_empty(1, 1, 1)  # beta = 0: it is not read
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        scores = torch.baddbmm(nothing, flat_queries[:, rows], flat_keys, beta=0, alpha=scale)
        mixed[:, rows] = torch.bmm(scores.softmax(dim=-1), flat_values)
    return mixed.view(batch, heads, count, width)


def _mixed(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # noqa: ARG001
    return queries.new_empty(queries.shape)


# To the compiler it is a whole: it would write out every chunk.
attend_in_chunks = opaque(
    "(Tensor queries, Tensor keys, Tensor values) -> Tensor", _attend_in_chunks, _mixed
)
