"""Attention of a vision tower written as one operator, where torch's exporter writes twenty.

ONNX Runtime's own MultiHeadAttention moves no head about in memory: a ViT-B/32 in 8 bits took 36
instead of 39 ms of processor time a picture, and half the time to load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Attention(torch.autograd.Function):  # type: ignore[misc]
    """Scaled dot-product attention over (n, length, width) rows; com.microsoft's operator."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
        del ctx
        q, k, v = (rows.unflatten(2, (heads, -1)).transpose(1, 2) for rows in (q, k, v))
        return _plain(q, k, v, scale=scale).transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(g: Any, q: Any, k: Any, v: Any, heads: int, scale: float) -> Any:
        made = g.op("com.microsoft::MultiHeadAttention", q, k, v, num_heads_i=heads, scale_f=scale)
        # Not q's own type: it has the example's number of pictures, taken for a constant then.
        return made.setType(q.type().with_sizes([None, None, None]))


_plain = functional.scaled_dot_product_attention


@contextmanager
def as_one_operator(module: nn.Module) -> Iterator[None]:
    """While it is open, torch's exporter writes attention without a mask as one operator.

    What else attention may be (a mask, causal, weights asked for) is left as it is. Not
    thread-safe: it changes torch's own function for everybody.
    """
    whole = [m for m in module.modules() if isinstance(m, nn.MultiheadAttention) and _simple(m)]
    functional.scaled_dot_product_attention = _scaled_dot_product
    for attention in whole:
        attention.forward = _Whole(attention)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = _plain
        for attention in whole:
            del attention.forward


def _simple(attention: nn.MultiheadAttention) -> bool:
    added = attention.bias_k is not None or attention.bias_v is not None or attention.add_zero_attn
    return attention.batch_first and attention.in_proj_weight is not None and not added


class _Whole:
    """A module's `forward` over batches first, its three products apart."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        self._attention, self._forward = attention, type(attention).forward

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        own = self._attention
        asked = options.get("need_weights", True) or options.get("is_causal")
        masked = any(options.get(name) is not None for name in ("key_padding_mask", "attn_mask"))
        if rest or asked or masked or query.dim() != 3:
            found: tuple[Tensor, Tensor | None]
            found = self._forward(own, query, key, value, *rest, **options)
            return found
        weights = own.in_proj_weight.chunk(3)
        biases = (None,) * 3 if own.in_proj_bias is None else own.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(rows, weight, bias)
            for rows, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        rows = _Attention.apply(q, k, v, own.num_heads, own.head_dim**-0.5)
        return functional.linear(rows, own.out_proj.weight, own.out_proj.bias), None


def _scaled_dot_product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    special = attn_mask is not None or is_causal or dropout_p or query.dim() != 4
    if special or query.shape[1] != key.shape[1]:
        return _plain(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    # A tracer's shapes are tensors.
    heads, width = int(query.shape[1]), int(query.shape[3])
    q, k, v = (rows.transpose(1, 2).flatten(2) for rows in (query, key, value))
    rows = _Attention.apply(q, k, v, heads, width**-0.5 if scale is None else float(scale))
    # unflatten is exported with the example's number of pictures.
    shape = query.shape[0], query.shape[2], heads, int(value.shape[3])
    return rows.reshape(shape).transpose(1, 2)
