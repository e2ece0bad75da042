"""Functions of a (4, 3) array, of many families, for what keeps and rebuilds their graphs."""

from __future__ import annotations

from typing import Any

import lamina.core as mx

FUNCTIONS: dict[str, Any] = {
    "softmax": lambda x: mx.softmax(x @ x.T, axis=-1),
    "views": lambda x: x.reshape(2, 2, 3).transpose(2, 0, 1)[:, ::-1, 1:],
    "reductions": lambda x: (x.sum(axis=0), x.max(), mx.var(x, axis=1), mx.logsumexp(x)),
    "indexing": lambda x: x[mx.array([2, 0])] + x.at[0].add(1.0)[1],
    "joins": lambda x: mx.concatenate([x, mx.zeros((1, 3)), mx.tile(x, (2, 1))]),
    "sorting": lambda x: (mx.sort(x, axis=0), mx.argsort(x), mx.topk(x, 2), mx.cumsum(x, axis=1)),
    "casts": lambda x: x.astype(mx.bfloat16).astype(mx.int32) // 2,
    "norms": lambda x: mx.fast.rms_norm(x, mx.ones((3,)), 1e-5),
    "convolution": lambda x: mx.conv1d(x[None], mx.ones((2, 2, 3))),
    "einsum": lambda x: mx.einsum("ij,kj->ik", x, x),
    "rope": lambda x: mx.fast.rope(
        mx.tile(x[None, None], (1, 1, 1, 2)), 4, traditional=False, base=1e4, scale=1.0, offset=2
    ),
    "gradient": lambda x: mx.grad(lambda a: mx.sum(mx.sin(a) ** 2))(x),
    "random": lambda x: x + mx.random.normal((4, 3), key=mx.random.key(3)),
    "checkpoint": lambda x: mx.checkpoint(lambda a: mx.tanh(a) * 2)(x),
    "fourier": lambda x: mx.real(mx.fft.ifft(mx.fft.rfft(x, axis=0), axis=0)),
    "solve": lambda x: mx.linalg.solve(x @ x.T + 4 * mx.eye(4), x, stream=mx.cpu),
    "factors": lambda x: mx.linalg.eigh(x.T @ x, stream=mx.cpu)[0],
    "quantized": lambda x: mx.quantized_matmul(
        mx.tile(x, (1, 11))[:, :32], *mx.quantize(mx.ones((2, 32)), 32, 4), group_size=32
    ),
    "attention": lambda x: mx.fast.scaled_dot_product_attention(
        x[None, None], x[None, None], x[None, None], scale=0.5, mask="causal"
    ),
}
