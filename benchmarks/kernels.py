"""What the kernels do with the machine: chains, reductions, layouts, matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina.core as mx
import lamina.nn as nn
import numpy as np

from .measure import Call, Row, race
from .peers import compiled, jax, mlx, torch


def blocking(f: Callable[..., Any], *args: Any) -> Call:
    """The call as each framework finishes it, told from its arguments."""
    first = args[0]
    if isinstance(first, mx.array):
        return lambda: mx.eval(f(*args))
    if mlx is not None and isinstance(first, mlx.array):
        return lambda: mlx.eval(f(*args))
    if torch is not None and isinstance(first, torch.Tensor):

        def run() -> None:
            with torch.no_grad():
                f(*args)

        return run
    return lambda: f(*args).block_until_ready()


def given(*arrays: np.ndarray, dtype: str = "float32", names: str = "lamina torch jax mlx") -> dict:
    """The same arrays in every framework that is there."""
    out: dict[str, tuple] = {}
    for name in names.split():
        if name == "lamina":
            out[name] = tuple(mx.array(a).astype(getattr(mx, dtype)) for a in arrays)
            mx.eval(*out[name])
        elif name == "torch" and torch is not None:
            out[name] = tuple(torch.from_numpy(a.copy()).to(getattr(torch, dtype)) for a in arrays)
        elif name == "jax" and jax is not None:
            out[name] = tuple(jax.numpy.asarray(a, dtype=dtype) for a in arrays)
        elif name == "mlx" and mlx is not None:
            out[name] = tuple(mlx.array(a).astype(getattr(mlx, dtype)) for a in arrays)
            mlx.eval(*out[name])
    return out


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def chain(rounds: int) -> list[Row]:
    """Elementwise operations on 64 MB: one pass over memory where they are fused.

    MLX is left out: its CPU wheel takes four seconds a call.
    """

    def written(exp: Any, sigmoid: Any, tanh: Any) -> Any:
        return lambda x: x * sigmoid(x) * 0.5 + tanh(0.797 * x + 0.0356 * x**3) - exp(-x * x)

    data = given(normal(4096, 4096))
    calls = {"lamina": blocking(written(mx.exp, mx.sigmoid, mx.tanh), *data["lamina"])}
    if torch is not None:
        eager = written(torch.exp, torch.sigmoid, torch.tanh)
        fast = compiled(eager)
        if fast is not None:
            calls["torch.compile"] = blocking(fast, *data["torch"])
        calls["torch"] = blocking(eager, *data["torch"])
    if jax is not None:
        jitted = jax.jit(written(jax.numpy.exp, jax.nn.sigmoid, jax.numpy.tanh))
        calls["jax"] = blocking(jitted, *data["jax"])
    return [
        Row("chain on 4096 x 4096", race(calls, rounds, patience=8), rival="torch.compile")
    ]  # fmt: skip


def rows_and_columns(rounds: int) -> list[Row]:
    """Reductions and row kernels, and a copy into another layout."""
    rows = []
    for n in (1024, 4096):
        data = given(normal(n, n), normal(n), normal(n))
        forms: dict[str, dict[str, Any]] = {
            "softmax": {"lamina": lambda x, w, b: mx.softmax(x, axis=-1)},
            "sum along rows": {"lamina": lambda x, w, b: mx.sum(x, axis=1)},
            "sum along columns": {"lamina": lambda x, w, b: mx.sum(x, axis=0)},
            "sum of all": {"lamina": lambda x, w, b: mx.sum(x)},
            "layer norm": {"lamina": layer_norm},
            "transpose copy": {"lamina": lambda x, w, b: mx.contiguous(x.T)},
        }
        if torch is not None:
            forms["softmax"]["torch"] = lambda x, w, b: torch.softmax(x, -1)
            forms["sum along rows"]["torch"] = lambda x, w, b: torch.sum(x, 1)
            forms["sum along columns"]["torch"] = lambda x, w, b: torch.sum(x, 0)
            forms["sum of all"]["torch"] = lambda x, w, b: torch.sum(x)
            forms["layer norm"]["torch"] = lambda x, w, b: torch.nn.functional.layer_norm(
                x, x.shape[-1:], w, b, 1e-5
            )
            forms["transpose copy"]["torch"] = lambda x, w, b: x.T.contiguous()
        if jax is not None:
            forms["softmax"]["jax"] = jax.jit(lambda x, w, b: jax.nn.softmax(x, -1))
            forms["sum along rows"]["jax"] = jax.jit(lambda x, w, b: x.sum(1))
            forms["sum along columns"]["jax"] = jax.jit(lambda x, w, b: x.sum(0))
            forms["sum of all"]["jax"] = jax.jit(lambda x, w, b: x.sum())
        if mlx is not None:
            forms["softmax"]["mlx"] = lambda x, w, b: mlx.softmax(x, axis=-1)
            forms["sum along rows"]["mlx"] = lambda x, w, b: mlx.sum(x, axis=1)
            forms["sum along columns"]["mlx"] = lambda x, w, b: mlx.sum(x, axis=0)
            forms["sum of all"]["mlx"] = lambda x, w, b: mlx.sum(x)
            forms["layer norm"]["mlx"] = lambda x, w, b: mlx.fast.layer_norm(x, w, b, 1e-5)
            forms["transpose copy"]["mlx"] = lambda x, w, b: mlx.contiguous(x.T)
        for label, functions in forms.items():
            calls = {name: blocking(f, *data[name]) for name, f in functions.items()}
            rows.append(Row(f"{label}, {n} x {n}", race(calls, rounds, patience=2), rival="torch"))
    return rows


def layer_norm(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    mean = mx.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = mx.mean(centred * centred, axis=-1, keepdims=True)
    return centred * mx.rsqrt(variance + 1e-5) * weight + bias


def products(rounds: int) -> list[Row]:
    """Square matrix products in the two formats that networks are trained in."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        for n in (256, 512, 1024, 2048):
            names = "lamina torch jax mlx" if n <= 512 else "lamina torch jax"
            data = given(normal(n, n), normal(n, n), dtype=dtype, names=names)
            calls = {}
            for name, pair in data.items():
                product = jax.jit(lambda a, b: a @ b) if name == "jax" else (lambda a, b: a @ b)
                calls[name] = blocking(product, *pair)
            rows.append(
                Row(f"matmul {dtype} {n}", race(calls, rounds, patience=2), rival="torch")
            )  # fmt: skip
    return rows


def activations(rounds: int) -> list[Row]:
    """One activation in the middle of a network."""
    data = given(normal(1 << 20), names="lamina torch jax")
    calls = {"lamina": blocking(nn.gelu, *data["lamina"])}
    if torch is not None:
        calls["torch"] = blocking(torch.nn.functional.gelu, *data["torch"])
    if jax is not None:
        exact = jax.jit(lambda x: jax.nn.gelu(x, approximate=False))
        calls["jax"] = blocking(exact, *data["jax"])
    return [Row("gelu, 1048576", race(calls, rounds, patience=2), rival="torch")]


def quantized(rounds: int) -> list[Row]:
    """x (M, 4096) by the transpose of a 4096 x 4096 weight in 4 bits, groups of 64.

    Beside MLX, and beside lamina's own product with the weight in float32.
    """
    size, rows = 4096, []
    weight = mx.array(normal(size, size))
    codes = mx.quantize(weight)
    mx.eval(weight, *codes)
    for m in (1, 8, 64):
        x = mx.array(normal(m, size))
        mx.eval(x)
        calls = {
            "lamina": blocking(lambda x, *c: mx.quantized_matmul(x, *c), x, *codes),
            "lamina float32": blocking(lambda x, w: x @ w.T, x, weight),
        }
        if mlx is not None:
            others = [mlx.array(np.array(a)) for a in (x, *codes)]
            calls["mlx"] = blocking(lambda x, *c: mlx.quantized_matmul(x, *c), *others)
        rows.append(
            Row(
                f"quantized_matmul, M = {m}",
                race(calls, rounds, patience=2),
                rival="lamina float32",
            )
        )
    return rows


def transforms(rounds: int) -> list[Row]:
    """Fourier transforms of complex numbers: of powers of two, of small and of large primes."""
    rows = []
    for shape in ((1 << 10,), (1 << 16,), (1 << 20,), (1000,), (10007,), (64, 1024)):
        plain = (normal(*shape) * (1 + 1j)).astype(np.complex64)
        homes = {"lamina": mx.fft.fft, "torch": torch and torch.fft.fft, "mlx": mlx and mlx.fft.fft}
        if jax is not None:
            homes["jax"] = jax.jit(jax.numpy.fft.fft)
        data = given(plain, dtype="complex64")
        calls = {name: blocking(homes[name], *pair) for name, pair in data.items()}
        calls["numpy"] = lambda plain=plain: np.fft.fft(plain)
        size = " x ".join(str(n) for n in shape)
        rows.append(Row(f"fft, {size}", race(calls, rounds, patience=2), rival="numpy"))
    return rows
