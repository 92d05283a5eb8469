"""Attention itself (Vaswani et al. 2017, eq. 1): softmax(q k' / sqrt(d)) v of each head, the faster of two ways."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Sequences = Float[Tensor, "B L D"]
Heads = Float[Tensor, "B heads L d"]
WHOLE = 256  # tokens whose matrix of scores a core's cache holds


def attend(queries: Sequences, keys: Sequences, values: Sequences, heads: int) -> Sequences:
    """What each token sees of all; a head has D / heads neighbouring features."""
    tokens, width = int(queries.shape[1]), int(queries.shape[2]) // heads  # plain numbers, where it is traced too
    # an engine that the call is traced for computes attention in a way of its own
    traced = torch._C._get_tracing_state() is not None
    whole = not traced and is_written_out(tokens, width, heads, queries.dtype, queries.device)
    form = written_out if whole else F.scaled_dot_product_attention
    q, k, v = (each.reshape(*each.shape[:2], heads, width).transpose(1, 2) for each in (queries, keys, values))
    return form(q, k, v).transpose(1, 2).flatten(2)


def is_written_out(tokens: int, width: int, heads: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether two products and a softmax between them are faster than torch's fused kernel, and not much larger.

    They are on a CPU up to 256 tokens: in bfloat16, of which the fused backward pass makes little, 1.4 to 9 times; else
    by a tenth or a quarter for one head, and not for several, which have to be copied apart. In bfloat16 they are 2 to
    3 times as fast beyond that too, and are taken while a token's scores are at most four times its head's features.
    """
    if device.type != "cpu":
        return False
    if dtype.itemsize > 2:
        return heads == 1 and tokens <= WHOLE
    return tokens <= max(WHOLE, 4 * width)


def written_out(queries: Heads, keys: Heads, values: Heads) -> Heads:
    """By the whole matrix of scores, (B heads, L, L)."""
    q, k, v = (each.flatten(0, 1) for each in (queries, keys, values))
    scores = torch.baddbmm(q.new_zeros(()), q, k.mT, beta=0, alpha=q.shape[2] ** -0.5)
    return (scores.softmax(2) @ v).view(queries.shape)
