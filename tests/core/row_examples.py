"""For every row of the registry a function whose graph has it, and inputs of several sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lamina.core as mx
from arrays import sample
from lamina import _core

Shapes = list[tuple[int, ...]]
L, F = mx.linalg, mx.fft


@dataclass
class Example:
    """`f` of floating arrays; `shapes` are those of its inputs, once for each of several sizes."""

    f: Callable[..., mx.array]
    shapes: list[Shapes]
    domain: tuple[float, float] = (-2, 2)
    # Differences do not give its derivative: it rounds, or its result is no smooth function.
    exact: bool = True
    step: float = 1e-6  # of differences; larger where the core computes in float32
    tolerance: float = 2e-6
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    base: str = "float64"  # in which differences are taken

    def inputs(self, dtype: str = "", size: int = 0, seed: int = 0) -> list[mx.array]:
        low, high = self.domain
        dtype = dtype or self.base
        return [sample(dtype, s, seed + i, low, high) for i, s in enumerate(self.shapes[size])]


def one(*shapes: tuple[int, ...]) -> list[Shapes]:
    """Sizes of a function of one array."""
    return [[shape] for shape in shapes]


RECTANGLES = one((3, 4), (2, 5), (1, 3))
SQUARES = one((3, 3), (2, 2), (4, 4))
IN_FLOAT32: dict[str, Any] = {"step": 2e-2, "tolerance": 3e-3}
# LAPACK's dtypes.
WIDE: dict[str, Any] = {"dtypes": ("float32", "float64")}
# Quantized products: bilinear, so that a long step costs nothing.
PACKED: dict[str, Any] = {
    "base": "float32",
    "step": 0.25,
    "tolerance": 1e-3,
    "dtypes": ("float16", "bfloat16", "float32"),
}


def shifted(x: mx.array) -> mx.array:
    return x / 4 + 2 * mx.eye(x.shape[-1], dtype=x.dtype)


def spread(x: mx.array) -> mx.array:
    """Symmetric, with eigenvalues well apart."""
    steps = mx.arange(x.shape[-1]).astype(x.dtype) * 3
    return (x + mx.swapaxes(x, -1, -2)) / 8 + mx.eye(x.shape[-1], dtype=x.dtype) * steps


def definite(x: mx.array) -> mx.array:
    return x @ mx.swapaxes(x, -1, -2) + mx.eye(x.shape[-1], dtype=x.dtype)


def complexes(x: mx.array) -> mx.array:
    return x.astype(mx.complex64) * (1 + 0.5j)


def parts(z: mx.array) -> mx.array:
    return mx.real(z) + 2 * mx.imag(z)


def pulled(f: Callable[..., mx.array], *xs: mx.array) -> mx.array:
    """The gradient by f's first argument, of the sum of the results' sines."""
    return mx.grad(lambda x: mx.sum(mx.sin(f(x, *xs[1:]))))(xs[0])


# Rows of several elements whose examples take complex numbers as they are.
COMPLEX = (
    *(
        "matmul",
        "sum",
        "prod",
        "cumsum",
        "cumprod",
        "transpose",
        "reshape",
        "broadcast_to",
        "slice",
    ),
    *(
        "slice_update",
        "concatenate",
        "contiguous",
        "depends",
        "gather",
        "scatter",
        "take_along_axis",
    ),
    *("as_strided", "put_along_axis", "solve", "inv", "det", "adjugate", "qr", "solve_triangular"),
    *("tri_inv", "lu_factor", "slogdet", "copy", "softmax", "fft", "irfft", "sort", "cummax"),
    *("cummin", "pinv", "logcumsumexp", "gather_mm", "segmented_mm"),
    *("partition", "logsumexp"),
)


def updated(x: mx.array, y: mx.array) -> mx.array:
    out = x * 1
    out[:1] = y
    return out


def packed(rows: int, columns: int) -> tuple[mx.array, ...]:
    return mx.quantize(sample("float32", (rows, columns), 9), 32, 4)


def with_packed(f: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """f(x, words, scales, biases), whose scales and biases are scaled by the last argument."""

    def run(x: mx.array, s: mx.array) -> mx.array:
        words, scales, biases = packed(4, 32)
        return f(x, words, scales.astype(x.dtype) * s, biases.astype(x.dtype) * s)

    return run


EXAMPLES: dict[str, Example] = {
    # --- rows of several axes
    "softmax": Example(lambda x: mx.softmax(x, axis=-1), RECTANGLES),
    "logsumexp": Example(lambda x: mx.logsumexp(x, axis=0), RECTANGLES),
    "rms_norm": Example(
        lambda x, w: mx.fast.rms_norm(x, w, 1e-3), [[(3, 4), (4,)], [(2, 5), (5,)]]
    ),
    "layer_norm": Example(
        lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-3),
        [[(3, 4), (4,), (4,)], [(2, 5), (5,), (5,)]],
    ),
    "attention": Example(
        lambda q, k, v: _core._attention(q, k, v, 0.5, False, None, None),
        [
            [(1, 2, 3, 4), (1, 1, 5, 4), (1, 1, 5, 4)],
            [(2, 2, 1, 3), (2, 2, 4, 3), (2, 2, 4, 2)],
            [(1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 2, 3)],
        ],
        base="float32",
        dtypes=("float16", "bfloat16", "float32"),
        **IN_FLOAT32,
    ),
    "rope": Example(
        lambda x, f: mx.fast.rope(
            x, 4, traditional=False, base=None, scale=0.5, offset=2, freqs=2 + mx.tanh(f)
        ),
        [[(2, 2, 3, 4), (2,)], [(1, 3, 2, 6), (2,)]],
        base="float32",
        dtypes=("float16", "bfloat16", "float32"),
        **IN_FLOAT32,
    ),
    "convolution": Example(
        lambda x, w: mx.conv1d(x, w, padding=1), [[(2, 6, 2), (3, 2, 2)], [(1, 4, 1), (2, 3, 1)]]
    ),
    "convolution_input_gradient": Example(
        lambda x, w: pulled(lambda a, b: mx.conv1d(a, b, stride=2), x, w),
        [[(2, 7, 2), (3, 2, 2)], [(1, 5, 1), (2, 2, 1)]],
        tolerance=1e-5,
    ),
    "convolution_weight_gradient": Example(
        lambda w, x: pulled(lambda b, a: mx.conv1d(a, b), w, x),
        [[(3, 2, 2), (2, 6, 2)], [(2, 3, 1), (1, 4, 1)]],
        tolerance=1e-5,
    ),
    "matmul": Example(lambda a, b: a @ b, [[(2, 3), (3, 4)], [(5, 1), (1, 2)]]),
    "gather_mm": Example(
        lambda a, b: mx.gather_mm(a, b, mx.array([1, 0, 1]), mx.array([0, 1, 1])),
        [[(2, 2, 3), (2, 3, 4)], [(3, 1, 2), (2, 2, 5)]],
    ),
    "segmented_mm": Example(
        lambda a, b: mx.segmented_mm(a, b, mx.array([[0, 2], [1, 3]], dtype=mx.uint32)),
        [[(2, 4), (4, 3)], [(1, 5), (5, 2)]],
    ),
    # --- quantized: four bits, groups of 32
    "dequantize": Example(
        lambda s, b: mx.dequantize(packed(4, 32)[0], s, b, group_size=32, bits=4),
        [[(4, 1), (4, 1)]],
    ),
    "quantized_matmul": Example(
        with_packed(lambda x, *q: mx.quantized_matmul(x, *q, group_size=32, bits=4)),
        [[(2, 32), (1, 1)], [(5, 32), (4, 1)]],
        **PACKED,
    ),
    "gather_qmm": Example(
        with_packed(
            lambda x, w, s, b: mx.gather_qmm(
                x, w[None], s[None], b[None], None, mx.array([0, 0]), group_size=32, bits=4
            )
        ),
        [[(2, 1, 32), (1, 1)], [(2, 3, 32), (4, 1)]],
        **PACKED,
    ),
    "round_to_format": Example(
        lambda x, w: mx.qqmm(x, w, mode="mxfp8"),
        [[(2, 32), (4, 32)], [(3, 64), (1, 64)]],
        exact=False,
        base="float32",
        dtypes=("float32",),
    ),
    # --- Fourier: complex64 is the widest there is
    "fft": Example(lambda x: parts(F.fft(complexes(x), axis=0)), RECTANGLES, **IN_FLOAT32),
    "rfft": Example(lambda x: parts(F.rfft(x)), RECTANGLES, **IN_FLOAT32),
    "irfft": Example(lambda x: F.irfft(complexes(x)), one((3, 4), (2, 3)), **IN_FLOAT32),
    # --- indices
    "gather": Example(lambda x: mx.take(x, mx.array([1, 0, 1]), axis=1), one((3, 4), (2, 5))),
    "scatter": Example(
        lambda x, y: x.at[mx.array([1, 0, 1])].add(y), [[(3, 4), (3, 4)], [(2, 5), (3, 5)]]
    ),
    "take_along_axis": Example(
        lambda x: mx.take_along_axis(x, mx.argsort(x, axis=1)[:, :1], axis=1), RECTANGLES
    ),
    "put_along_axis": Example(
        lambda x, y: mx.put_along_axis(x, mx.zeros((1, 1), mx.int32), y, axis=1),
        [[(3, 4), (3, 1)], [(2, 5), (2, 1)]],
    ),
    "sort": Example(lambda x: mx.sort(x, axis=1), RECTANGLES),
    "argsort": Example(lambda x: mx.argsort(x, axis=1), RECTANGLES),
    "partition": Example(lambda x: mx.sort(mx.partition(x, 0, axis=0)[:1]), RECTANGLES),
    "argpartition": Example(lambda x: mx.argpartition(x, 0, axis=1)[:, :1], RECTANGLES),
    "searchsorted": Example(
        lambda x, y: mx.searchsorted(mx.sort(x), y), [[(4,), (3, 2)], [(7,), (1, 5)]]
    ),
    # --- reductions and scans
    "sum": Example(lambda x: mx.sum(x, axis=0), RECTANGLES),
    "prod": Example(lambda x: mx.prod(x, axis=1), RECTANGLES),
    "min": Example(lambda x: mx.min(x, axis=0), RECTANGLES),
    "max": Example(lambda x: mx.max(x), RECTANGLES),
    "all": Example(lambda x: mx.all(x > -1, axis=0), RECTANGLES),
    "any": Example(lambda x: mx.any(x > 1, axis=0), RECTANGLES),
    "argmin": Example(lambda x: mx.argmin(x, axis=0), RECTANGLES),
    "argmax": Example(lambda x: mx.argmax(x, axis=1), RECTANGLES),
    "cumsum": Example(lambda x: mx.cumsum(x, axis=0), RECTANGLES),
    "cumprod": Example(lambda x: mx.cumprod(x, axis=1), RECTANGLES),
    "cummax": Example(lambda x: mx.cummax(x, axis=1), RECTANGLES),
    "cummin": Example(lambda x: mx.cummin(x, axis=1, reverse=True), RECTANGLES),
    "logcumsumexp": Example(lambda x: mx.logcumsumexp(x, axis=1), RECTANGLES),
    # --- views, joins, marks
    "transpose": Example(lambda x: mx.transpose(x) * 2, RECTANGLES),
    "reshape": Example(lambda x: mx.reshape(x, (1, -1, x.shape[0])), RECTANGLES),
    "broadcast_to": Example(lambda x: mx.broadcast_to(x, (2, *x.shape)), RECTANGLES),
    "slice": Example(lambda x: x[::-1, 1 : x.shape[1]], RECTANGLES),
    "slice_update": Example(updated, [[(3, 4), (1, 4)], [(2, 5), (1, 5)]]),
    "as_strided": Example(
        lambda x: mx.as_strided(x, (2, x.shape[1]), (1, 1), 0), one((3, 4), (2, 5))
    ),
    "concatenate": Example(
        lambda x, y: mx.concatenate([x, y]), [[(3, 4), (1, 4)], [(1, 2), (2, 2)]]
    ),
    "copy": Example(lambda x: mx.array(x) + mx.vjp(mx.sin, [x], [x])[1][0], RECTANGLES),
    "contiguous": Example(lambda x: mx.contiguous(x.T), RECTANGLES),
    "depends": Example(lambda x: mx.depends(x, [x * 2]) * 2, RECTANGLES),
    "stop_gradient": Example(mx.stop_gradient, RECTANGLES),
    "astype": Example(
        lambda x: x.astype(mx.float32) * x.astype(mx.float32), RECTANGLES, **IN_FLOAT32
    ),
    "view": Example(lambda x: mx.view(x, mx.uint8), RECTANGLES),
    "iota": Example(lambda x: mx.arange(x.shape[1]) + mx.zeros(x.shape), RECTANGLES),
    "random_bits": Example(
        lambda x: mx.random.uniform(shape=x.shape, key=mx.random.key(3)), RECTANGLES
    ),
    # --- linear algebra
    "qr": Example(lambda x: L.qr(shifted(x))[0], SQUARES, **WIDE),
    "lu_factor": Example(lambda x: L.lu_factor(shifted(x))[0], SQUARES, **WIDE),
    "solve": Example(
        lambda a, b: L.solve(shifted(a), b), [[(3, 3), (3, 2)], [(2, 2), (2, 1)]], **WIDE
    ),
    "inv": Example(lambda x: L.inv(shifted(x)), SQUARES, **WIDE),
    "pinv": Example(L.pinv, one((4, 2), (2, 3)), tolerance=1e-4, **WIDE),
    "det": Example(lambda x: L.det(shifted(x)), SQUARES, **WIDE),
    "adjugate": Example(lambda x: mx.grad(L.det)(shifted(x)), SQUARES, **WIDE),
    "slogdet": Example(lambda x: L.slogdet(shifted(x))[1], SQUARES, **WIDE),
    "cholesky": Example(lambda x: L.cholesky(definite(x)), SQUARES, tolerance=1e-5, **WIDE),
    "solve_triangular": Example(
        lambda a, b: L.solve_triangular(shifted(a), b), [[(3, 3), (3, 2)], [(2, 2), (2, 1)]], **WIDE
    ),
    "tri_inv": Example(lambda x: L.tri_inv(shifted(x)), SQUARES, **WIDE),
    "matrix_sqrt": Example(
        lambda x: _core._matrix_sqrt(definite(x)), SQUARES, tolerance=1e-5, **WIDE
    ),
    "svd": Example(
        lambda x: (lambda u, s, vt: (u * s * s) @ vt)(*L.svd(spread(x))),
        SQUARES,
        tolerance=1e-4,
        **WIDE,
    ),
    "svdvals": Example(lambda x: L.svdvals(spread(x)), SQUARES, tolerance=1e-5, **WIDE),
    "eigh": Example(
        lambda x: (lambda w, v: (v * w * w) @ v.T)(*L.eigh(spread(x))),
        SQUARES,
        tolerance=1e-5,
        **WIDE,
    ),
    "eigvalsh": Example(lambda x: L.eigvalsh(spread(x)), SQUARES, tolerance=1e-5, **WIDE),
    "eig": Example(
        lambda x: mx.real((L.eig(spread(x))[0] ** 2).sum(axis=-1)), SQUARES, **IN_FLOAT32, **WIDE
    ),
    "eigvals": Example(
        lambda x: mx.real((L.eigvals(spread(x)) ** 3).sum(axis=-1)), SQUARES, **IN_FLOAT32, **WIDE
    ),
}


def elementwise(row: dict[str, Any]) -> Example:
    """The example of an elementwise row, from what the row states."""
    name, arity = row["name"], row["arity"]
    shapes: list[Shapes] = [[(3, 4)] * arity, [(2, 1), (2, 5), (1, 5)][:arity], [(1, 6)] * arity]
    low, high = row["domain"]
    floats = ("float16", "bfloat16", "float32", "float64")
    function = mx.where if name == "select" else getattr(_core, name)
    if name == "select":
        return Example(lambda x, y: mx.where(x > 0, x * 2, y), [s[:2] for s in shapes])
    if row["accepts"] == 3:  # bits
        return Example(lambda *xs: function(*(mx.abs(x).astype(mx.int32) for x in xs)), shapes)
    return Example(function, shapes, (max(low, -50), min(high, 50)), dtypes=floats)


# Results of operations with several of them have the rules of those: custom functions, and what a
# program registers (test_transforms, test_primitives).
RESULTS = ("custom_output", "call_result")
ROWS: dict[str, dict[str, Any]] = {
    r["name"]: r for r in _core._registry() if r["kind"] != "custom" and r["name"] not in RESULTS
}
ALL = {
    **{name: elementwise(row) for name, row in ROWS.items() if row["kind"] == "elementwise"},
    **EXAMPLES,
}
