"""Attention itself (Vaswani et al. 2017, eq. 1): softmax(q k' / sqrt(d)) v of each head, the faster of two ways."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Sequences = Float[Tensor, "B L D"]
Heads = Float[Tensor, "B heads L d"]
Attended = Float[Tensor, "B M D"]
AttendedHeads = Float[Tensor, "B heads M d"]
Visible = Bool[Tensor, "... #L M"]
WHOLE = 256  # tokens whose matrix of scores a core's cache holds


def attend(queries: Sequences, keys: Attended, values: Attended, heads: int, mask: Visible | None = None) -> Sequences:
    """What each token sees of those that the keys are of; a head has D / heads neighbouring features.

    `mask`: which of them each may see, for (B, heads, L, M); None: all.
    """
    pairs, width = int(queries.shape[1]) * int(keys.shape[1]), int(queries.shape[2]) // heads  # numbers if traced too
    tokens = int(pairs**0.5)
    # an engine that the call is traced for computes attention in a way of its own
    traced = torch._C._get_tracing_state() is not None
    whole = not traced and is_written_out(tokens, width, heads, queries.dtype, queries.device)
    form = written_out if whole else F.scaled_dot_product_attention
    q, k, v = (each.reshape(*each.shape[:2], heads, width).transpose(1, 2) for each in (queries, keys, values))
    return form(q, k, v, mask).transpose(1, 2).flatten(2)


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


def written_out(queries: Heads, keys: AttendedHeads, values: AttendedHeads, mask: Visible | None = None) -> Heads:
    """By the whole matrix of scores, (B heads, L, M)."""
    q, k, v = (each.flatten(0, 1) for each in (queries, keys, values))
    scores = torch.baddbmm(q.new_zeros(()), q, k.mT, beta=0, alpha=q.shape[2] ** -0.5)
    if mask is not None:
        scores = scores.view(*queries.shape[:3], -1).masked_fill(~mask, -torch.inf).flatten(0, 1)
    return (scores.softmax(2) @ v).view(queries.shape)
