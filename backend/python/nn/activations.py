"""Activation functions, and the modules that apply them.

All are written with plain array operations: the engine fuses them with their neighbours.
"""

from __future__ import annotations

import math
from typing import Any

import lamina.core as mx
from lamina.nn.module import Module


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + exp(-x))."""
    return mx.sigmoid(x)


def relu(x: mx.array) -> mx.array:
    """max(x, 0)."""
    return mx.maximum(x, 0)


def relu2(x: mx.array) -> mx.array:
    """max(x, 0) squared."""
    return mx.square(mx.maximum(x, 0))


def relu6(x: mx.array) -> mx.array:
    """`x` clamped to [0, 6]."""
    return mx.minimum(mx.maximum(x, 0), 6.0)


def leaky_relu(x: mx.array, negative_slope: float = 0.01) -> mx.array:
    """max(negative_slope * x, x)."""
    return mx.maximum(negative_slope * x, x)


def log_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """`x` - logsumexp(x) along `axis`, in float32 for floats of 16 bits and rounded once."""
    wide = _wide(x)
    return _as_narrow(wide - mx.logsumexp(wide, axis=axis, keepdims=True), x.dtype)


# Differences of floats of 16 bits would lose most of their bits.


def _wide(x: mx.array) -> mx.array:
    return x.astype(mx.float32) if x.dtype in (mx.float16, mx.bfloat16) else x


def _as_narrow(x: mx.array, dtype: mx.Dtype) -> mx.array:
    return x.astype(dtype) if dtype in (mx.float16, mx.bfloat16) else x


def softmax(x: mx.array, axis: int = -1) -> mx.array:
    """exp(x) normalised to sum to 1 along `axis`."""
    return mx.softmax(x, axis=axis)


def softmin(x: mx.array, axis: int = -1) -> mx.array:
    """Softmax of -x along `axis`."""
    return mx.softmax(-x, axis=axis)


def elu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """`x` where positive, else alpha * (exp(x) - 1)."""
    return mx.where(x > 0, x, alpha * (mx.exp(x) - 1))


def celu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    return mx.maximum(x, 0.0) + alpha * (mx.exp(mx.minimum(x, 0.0) / alpha) - 1)


def selu(x: mx.array) -> mx.array:
    """Scaled elu with the self-normalising constants 1.67326 and 1.0507."""
    return 1.0507 * elu(x, 1.67326)


def silu(x: mx.array) -> mx.array:
    """`x` * sigmoid(x)."""
    return x * mx.sigmoid(x)


def mish(x: mx.array) -> mx.array:
    """`x` * tanh(softplus(x))."""
    return x * mx.tanh(softplus(x))


def softplus(x: mx.array) -> mx.array:
    """log(1 + exp(x))."""
    return mx.logaddexp(x, 0)


def softsign(x: mx.array) -> mx.array:
    """`x` / (1 + |x|)."""
    return x / (1 + mx.abs(x))


def softshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """`x` moved towards zero by `lambd`, zero within it."""
    return mx.where(mx.abs(x) > lambd, x - mx.sign(x) * lambd, 0)


def hard_shrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """`x` where |x| > lambd, else 0."""
    return mx.where(mx.abs(x) > lambd, x, 0)


def hard_tanh(x: mx.array, min_val: float = -1.0, max_val: float = 1.0) -> mx.array:
    """`x` clamped to [min_val, max_val]."""
    return mx.minimum(mx.maximum(x, min_val), max_val)


def hardswish(x: mx.array) -> mx.array:
    """`x` * relu6(x + 3) / 6."""
    return x * relu6(x + 3) / 6


def log_sigmoid(x: mx.array) -> mx.array:
    """log(sigmoid(x))."""
    return -softplus(-x)


def tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent."""
    return mx.tanh(x)


def step(x: mx.array, threshold: float = 0.0) -> mx.array:
    """1 where x >= threshold, else 0; int32."""
    return mx.where(x >= threshold, 1, 0)


def gelu(x: mx.array) -> mx.array:
    """`x` times the normal distribution function of x, through erf."""
    return x * (1 + mx.erf(x * math.sqrt(0.5))) * 0.5


def gelu_approx(x: mx.array) -> mx.array:
    """Gelu through tanh."""
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_fast_approx(x: mx.array) -> mx.array:
    """Gelu as x * sigmoid(1.702 x)."""
    return x * mx.sigmoid(1.702 * x)


def prelu(x: mx.array, alpha: mx.array) -> mx.array:
    """max(x, 0) + alpha * min(x, 0)."""
    return mx.maximum(0, x) + alpha * mx.minimum(0, x)


def glu(x: mx.array, axis: int = -1) -> mx.array:
    """`a * sigmoid(b)` where x is split into halves a and b along `axis`.

    Raises:
        ValueError: the size along `axis` is odd.

    """
    if x.shape[axis] % 2:
        raise ValueError(
            f"glu: expected an even size along axis {axis}, got shape {tuple(x.shape)}"
        )
    a, b = mx.split(x, 2, axis=axis)
    return a * mx.sigmoid(b)


class Sigmoid(Module):
    """Applies `sigmoid`."""

    def __call__(self, x: mx.array) -> mx.array:
        return sigmoid(x)


class Mish(Module):
    """Applies `mish`."""

    def __call__(self, x: mx.array) -> mx.array:
        return mish(x)


class ReLU(Module):
    """Applies `relu`."""

    def __call__(self, x: mx.array) -> mx.array:
        return relu(x)


class ReLU2(Module):
    """Applies `relu2`."""

    def __call__(self, x: mx.array) -> mx.array:
        return relu2(x)


class ReLU6(Module):
    """Applies `relu6`."""

    def __call__(self, x: mx.array) -> mx.array:
        return relu6(x)


class Softmax(Module):
    """Applies `softmax` along the last axis."""

    def __call__(self, x: mx.array) -> mx.array:
        return softmax(x)


class Softmin(Module):
    """Applies `softmin` along the last axis."""

    def __call__(self, x: mx.array) -> mx.array:
        return softmin(x)


class LogSoftmax(Module):
    """Applies `log_softmax` along the last axis."""

    def __call__(self, x: mx.array) -> mx.array:
        return log_softmax(x)


class LogSigmoid(Module):
    """Applies `log_sigmoid`."""

    def __call__(self, x: mx.array) -> mx.array:
        return log_sigmoid(x)


class Softplus(Module):
    """Applies `softplus`."""

    def __call__(self, x: mx.array) -> mx.array:
        return softplus(x)


class Softsign(Module):
    """Applies `softsign`."""

    def __call__(self, x: mx.array) -> mx.array:
        return softsign(x)


class SiLU(Module):
    """Applies `silu`."""

    def __call__(self, x: mx.array) -> mx.array:
        return silu(x)


class SELU(Module):
    """Applies `selu`."""

    def __call__(self, x: mx.array) -> mx.array:
        return selu(x)


class Hardswish(Module):
    """Applies `hardswish`."""

    def __call__(self, x: mx.array) -> mx.array:
        return hardswish(x)


class HardTanh(Module):
    """Applies `hard_tanh` with the limits -1 and 1."""

    def __call__(self, x: mx.array) -> mx.array:
        return hard_tanh(x)


class Tanh(Module):
    """Applies `tanh`."""

    def __call__(self, x: mx.array) -> mx.array:
        return tanh(x)


class GLU(Module):
    """Applies `glu` along `axis`, which it halves."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def __call__(self, x: mx.array) -> Any:
        return glu(x, axis=self.axis)


class LeakyReLU(Module):
    """Applies `leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self._negative_slope = negative_slope

    def __call__(self, x: mx.array) -> mx.array:
        return leaky_relu(x, self._negative_slope)


class ELU(Module):
    """Applies `elu`."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return elu(x, self._alpha)


class CELU(Module):
    """Applies `celu`."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return celu(x, self._alpha)


class Softshrink(Module):
    """Applies `softshrink`."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return softshrink(x, self.lambd)


class HardShrink(Module):
    """Applies `hard_shrink`."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return hard_shrink(x, self.lambd)


class Step(Module):
    """Applies `step`."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def __call__(self, x: mx.array) -> mx.array:
        return step(x, self.threshold)


class PReLU(Module):
    """Applies `prelu` with a learned slope, one for all channels or one for each."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = mx.full([num_parameters], init)

    def __call__(self, x: mx.array) -> mx.array:
        return prelu(x, self["weight"])


_GELU_KINDS = {
    "none": gelu,
    "precise": gelu_approx,
    "tanh": gelu_approx,
    "fast": gelu_fast_approx,
}


class GELU(Module):
    """Applies gelu: exact ("none"), through tanh ("precise", "tanh") or sigmoid ("fast")."""

    def __init__(self, approx: str = "none") -> None:
        super().__init__()
        if approx not in _GELU_KINDS:
            raise ValueError(f"GELU: expected approx in {list(_GELU_KINDS)}, got {approx!r}")
        self._approx = approx

    def __call__(self, x: mx.array) -> mx.array:
        return _GELU_KINDS[self._approx](x)
