"""Loss functions. `reduction` is "none" (keep all), "mean" or "sum"."""

from __future__ import annotations

import math
from typing import Literal

import lamina.core as mx
from lamina.nn.activations import _as_narrow, _wide

Reduction = Literal["none", "mean", "sum"]


def _reduce(loss: mx.array, reduction: str) -> mx.array:
    if reduction == "none":
        return loss
    if reduction == "mean":
        return mx.mean(loss)
    if reduction == "sum":
        return mx.sum(loss)
    raise ValueError(f"loss: expected reduction 'none', 'mean' or 'sum', got {reduction!r}")


def _same_shape(loss: str, **arrays: mx.array) -> None:
    shapes = {name: tuple(a.shape) for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{loss}: expected equal shapes, got {listed}")


def _weighted(name: str, loss: mx.array, weights: mx.array | None) -> mx.array:
    if weights is None:
        return loss
    if weights.shape != loss.shape:
        raise ValueError(
            f"{name}: expected weights of the loss's shape {tuple(loss.shape)}, "
            f"got {tuple(weights.shape)}"
        )
    return loss * weights


def cross_entropy(
    logits: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """Cross entropy of softmax(logits) along `axis` against class indices or probabilities.

    Indices are shaped as `logits` without `axis`, and so are the factors `weights`; probabilities
    are shaped as `logits`. The share `label_smoothing`, in [0, 1), of the target is spread evenly
    over the classes. Floats of 16 bits are computed with in float32, and the losses rounded once.

    Raises:
        ValueError: `label_smoothing` out of range or shapes that do not match.

    """
    if label_smoothing < 0 or label_smoothing >= 1:
        raise ValueError(
            f"cross_entropy: expected label_smoothing in [0, 1), got {label_smoothing}"
        )
    axis = axis % logits.ndim
    rows = tuple(logits.shape[:axis]) + tuple(logits.shape[axis + 1 :])
    as_probabilities = targets.ndim == logits.ndim
    if tuple(targets.shape) != (tuple(logits.shape) if as_probabilities else rows):
        raise ValueError(
            f"cross_entropy: expected targets of shape {rows} or {tuple(logits.shape)} "
            f"for logits {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    dtype = mx.result_type(logits, targets) if as_probabilities else logits.dtype
    logits = _wide(logits)
    if as_probabilities:
        score = mx.sum(logits * _wide(targets), axis=axis)
    else:
        indices = mx.expand_dims(targets, axis)
        score = mx.squeeze(mx.take_along_axis(logits, indices, axis), axis)
    normalizer = mx.logsumexp(logits, axis=axis)
    if label_smoothing > 0:
        mean_logit = mx.mean(logits, axis=axis)
        score = (1 - label_smoothing) * score + label_smoothing * mean_logit
    losses = _as_narrow(normalizer - score, dtype)
    return _reduce(_weighted("cross_entropy", losses, weights), reduction)


def binary_cross_entropy(
    inputs: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    with_logits: bool = True,
    reduction: Reduction = "mean",
) -> mx.array:
    """Binary cross entropy of logits, or of probabilities if not `with_logits`.

    Logarithms of probabilities are kept above -100, so that 0 and 1 give finite losses.
    """
    _same_shape("binary_cross_entropy", inputs=inputs, targets=targets)
    if with_logits:
        loss = mx.logaddexp(0.0, inputs) - inputs * targets
    else:
        log_p = mx.maximum(mx.log(inputs), -100)
        log_not_p = mx.maximum(mx.log(1 - inputs), -100)
        loss = -(targets * log_p + (1 - targets) * log_not_p)
    return _reduce(_weighted("binary_cross_entropy", loss, weights), reduction)


def l1_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """|predictions - targets|."""
    _same_shape("l1_loss", predictions=predictions, targets=targets)
    return _reduce(mx.abs(predictions - targets), reduction)


def mse_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """(predictions - targets) squared."""
    _same_shape("mse_loss", predictions=predictions, targets=targets)
    return _reduce(mx.square(predictions - targets), reduction)


def nll_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """Minus the log probability in `inputs` of the class that `targets` names along `axis`."""
    picked = mx.take_along_axis(inputs, mx.expand_dims(targets, axis), axis)
    return _reduce(-mx.squeeze(picked, axis), reduction)


def gaussian_nll_loss(
    inputs: mx.array,
    targets: mx.array,
    vars: mx.array,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> mx.array:
    """Minus the log density of `targets` under normals of mean `inputs` and variance `vars`.

    Variances below `eps` count as `eps`; `full` adds the constant log(2 pi) / 2.
    """
    _same_shape("gaussian_nll_loss", inputs=inputs, targets=targets, vars=vars)
    variance = mx.maximum(vars, eps)
    loss = 0.5 * (mx.log(variance) + mx.square(targets - inputs) / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(loss, reduction)


def kl_div_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """Divergence of log probabilities `inputs` from log probabilities `targets` along `axis`."""
    return _reduce(mx.sum(mx.exp(targets) * (targets - inputs), axis=axis), reduction)


def smooth_l1_loss(
    predictions: mx.array,
    targets: mx.array,
    beta: float = 1.0,
    reduction: Reduction = "mean",
) -> mx.array:
    """d² / (2 beta) where d = |predictions - targets| < beta, else d - beta / 2."""
    _same_shape("smooth_l1_loss", predictions=predictions, targets=targets)
    diff = mx.abs(predictions - targets)
    if beta == 0:
        return _reduce(diff, reduction)
    loss = mx.where(diff < beta, 0.5 * mx.square(diff) / beta, diff - 0.5 * beta)
    return _reduce(loss, reduction)


def triplet_loss(
    anchors: mx.array,
    positives: mx.array,
    negatives: mx.array,
    axis: int = -1,
    p: int = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: Reduction = "none",
) -> mx.array:
    """max(0, distance to positives - distance to negatives + margin), p-norms along `axis`.

    `eps` is added below the root, which keeps its gradient finite.
    """

    def distance(other: mx.array) -> mx.array:
        powers = mx.power(mx.abs(anchors - other), p)
        return mx.power(mx.sum(powers, axis=axis) + eps, 1 / p)

    loss = mx.maximum(distance(positives) - distance(negatives) + margin, 0)
    return _reduce(loss, reduction)


def hinge_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """max(0, 1 - inputs * targets), for targets -1 and 1."""
    return _reduce(mx.maximum(1 - inputs * targets, 0), reduction)


def huber_loss(
    inputs: mx.array, targets: mx.array, delta: float = 1.0, reduction: Reduction = "none"
) -> mx.array:
    """d² / 2 where d = |inputs - targets| <= delta, else delta * (d - delta / 2)."""
    diff = mx.abs(inputs - targets)
    loss = mx.where(diff <= delta, 0.5 * mx.square(diff), delta * (diff - 0.5 * delta))
    return _reduce(loss, reduction)


def log_cosh_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """log(cosh(inputs - targets)), without overflow."""
    errors = inputs - targets
    return _reduce(mx.logaddexp(errors, -errors) - math.log(2), reduction)


def cosine_similarity_loss(
    x1: mx.array,
    x2: mx.array,
    axis: int = 1,
    eps: float = 1e-8,
    reduction: Reduction = "none",
) -> mx.array:
    """Cosine of the angle between x1 and x2 along `axis`; the norms' product is at least `eps`."""
    dot = mx.sum(x1 * x2, axis=axis)
    norms = mx.sqrt(mx.sum(mx.square(x1), axis=axis)) * mx.sqrt(mx.sum(mx.square(x2), axis=axis))
    return _reduce(dot / mx.maximum(norms, eps), reduction)


def margin_ranking_loss(
    inputs1: mx.array,
    inputs2: mx.array,
    targets: mx.array,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """max(0, margin - targets * (inputs1 - inputs2)), for targets -1 and 1."""
    _same_shape("margin_ranking_loss", inputs1=inputs1, inputs2=inputs2, targets=targets)
    return _reduce(mx.maximum(0, margin - targets * (inputs1 - inputs2)), reduction)
