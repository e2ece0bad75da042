"""Layers: forward and gradient against MLX, formulas in NumPy, errors."""

from __future__ import annotations

import inspect
import math

import lamina.core as mx
import mlx.core as omx
import mlx.nn as onn
import numpy as np
import pytest
from lamina import nn
from oracle import close, copy_parameters, normal, ours, same_tree, theirs, to_numpy

MASK = np.where(np.tri(5, dtype=bool), 0, -1e9).astype(np.float32)
IMAGE, VOLUME, SERIES = normal(2, 9, 8, 4), normal(1, 6, 5, 7, 2), normal(2, 9, 4)
TOKENS, OTHER = normal(2, 5, 8), normal(2, 7, 6, seed=1)

CASES = [
    ("Linear", (3, 4), {}, [normal(2, 3)]),
    ("Linear", (3, 4), {"bias": False}, [normal(2, 5, 3)]),
    ("Linear", (3, 4), {}, [normal(3)]),
    ("Bilinear", (3, 4, 5), {}, [normal(2, 6, 3), normal(2, 6, 4, seed=1)]),
    ("Identity", (1,), {"x": 2}, [normal(2)]),
    ("Conv1d", (4, 6, 3), {"groups": 2, "stride": 2, "padding": 1}, [SERIES]),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": 1, "dilation": 2}, [IMAGE]),
    ("Conv2d", (4, 6, 3), {"groups": 2, "bias": False}, [IMAGE]),
    ("Conv3d", (2, 3, 2), {}, [VOLUME]),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, [SERIES]),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1}, [IMAGE]),
    ("ConvTranspose3d", (2, 3, 2), {}, [VOLUME]),
    ("BatchNorm", (4,), {}, [normal(5, 4)]),
    ("BatchNorm", (4,), {"momentum": 0.3, "affine": False}, [IMAGE]),
    ("BatchNorm", (4,), {"track_running_stats": False}, [SERIES]),
    ("LayerNorm", (4,), {}, [SERIES]),
    ("LayerNorm", (4,), {"affine": False, "eps": 1e-3}, [SERIES]),
    ("LayerNorm", (4,), {"bias": False}, [normal(5, 4)]),
    ("RMSNorm", (4,), {}, [SERIES]),
    ("GroupNorm", (2, 4), {}, [IMAGE]),
    ("GroupNorm", (2, 4), {"pytorch_compatible": True}, [SERIES]),
    ("InstanceNorm", (4,), {"affine": True}, [IMAGE]),
    ("MaxPool1d", (2,), {}, [SERIES]),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, [SERIES]),
    ("MaxPool2d", (2,), {}, [IMAGE]),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1}, [IMAGE]),
    ("MaxPool2d", ((2, 3),), {"stride": 1}, [IMAGE]),
    ("AvgPool2d", (2,), {"padding": 1}, [IMAGE]),
    ("AvgPool2d", (3,), {"stride": (2, 1)}, [IMAGE]),
    ("MaxPool3d", (2,), {"stride": 1}, [VOLUME]),
    ("AvgPool3d", ((2, 1, 3),), {}, [VOLUME]),
    ("RNN", (4, 3), {}, [SERIES]),
    ("RNN", (4, 3), {"bias": False}, [SERIES, normal(2, 3)]),
    ("GRU", (4, 3), {}, [SERIES]),
    ("GRU", (4, 3), {"bias": False}, [SERIES, normal(2, 3)]),
    ("LSTM", (4, 3), {}, [SERIES, normal(2, 3), normal(2, 3, seed=1)]),
    ("LSTM", (4, 3), {"bias": False}, [normal(6, 4)]),
    ("MultiHeadAttention", (8, 2), {}, [TOKENS, TOKENS, TOKENS, MASK]),
    (
        "MultiHeadAttention",
        (8, 2),
        {"bias": True, "key_input_dims": 6, "value_dims": 10, "value_output_dims": 4},
        [TOKENS, OTHER, OTHER],
    ),
    ("TransformerEncoder", (2, 8, 2), {"mlp_dims": 12}, [TOKENS, MASK]),
    ("TransformerEncoder", (1, 8, 2), {"norm_first": False, "checkpoint": True}, [TOKENS, None]),
    ("TransformerDecoder", (2, 8, 2), {}, [TOKENS, TOKENS, MASK, None]),
    ("TransformerDecoder", (1, 8, 2), {"norm_first": False}, [TOKENS, TOKENS, MASK, MASK]),
    ("Transformer", (8, 2, 1, 1), {}, [TOKENS, TOKENS, MASK, MASK, None]),
    ("RoPE", (4,), {}, [normal(1, 2, 5, 8)]),
    ("RoPE", (4, True), {"base": 100.0, "scale": 2.0}, [normal(1, 2, 5, 8), 3]),
    ("ALiBi", (), {}, [normal(1, 12, 4, 6)]),
    ("ALiBi", (), {}, [normal(1, 5, 2, 6), 4, normal(2, 6, seed=1)]),
    ("SinusoidalPositionalEncoding", (8,), {}, [normal(5)]),
    (
        "SinusoidalPositionalEncoding",
        (8,),
        {"cos_first": True, "full_turns": True, "scale": 1.0, "min_freq": 0.01},
        [normal(5)],
    ),
    *[
        ("Upsample", (scale,), {"mode": mode}, [normal(2, 5, 8, 3)])
        for scale in (2, 1.5, 0.6, (1.3, 0.7))
        for mode in ("nearest", "linear", "cubic")
    ],
    ("Upsample", (1.5,), {"mode": "cubic", "align_corners": True}, [normal(2, 5, 3)]),
    ("Upsample", (0.4,), {"mode": "linear", "antialias": True}, [normal(2, 9, 3)]),
    ("Upsample", (0.4,), {"mode": "cubic", "antialias": True}, [normal(2, 9, 3)]),
]
WIDE = 4 * normal(3, 8)
ACTIVATIONS = [
    (name, (), {}, [WIDE])
    for name in [
        "CELU",
        "ELU",
        "GELU",
        "GLU",
        "HardShrink",
        "HardTanh",
        "Hardswish",
        "LeakyReLU",
        "LogSigmoid",
        "LogSoftmax",
        "Mish",
        "PReLU",
        "ReLU",
        "ReLU2",
        "ReLU6",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Softmax",
        "Softmin",
        "Softplus",
        "Softshrink",
        "Softsign",
        "Step",
        "Tanh",
    ]
] + [("GELU", (kind,), {}, [WIDE]) for kind in ("none", "precise", "tanh", "fast")]


def first(result):
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize(("name", "args", "kwargs", "inputs"), CASES + ACTIVATIONS)
def test_forward_and_gradient_as_mlx(name, args, kwargs, inputs):
    layer, oracle = getattr(nn, name)(*args, **kwargs), getattr(onn, name)(*args, **kwargs)
    copy_parameters(layer, oracle)
    mine, other = ours(inputs), theirs(inputs)
    result = layer(*mine)
    same_tree(result, oracle(*other), 2e-5)
    if name != "Step":
        weights = normal(*first(result).shape, seed=9)
        grad = mx.grad(lambda x: mx.sum(first(layer(x, *mine[1:])) * mx.array(weights)))
        expected = omx.grad(lambda x: omx.sum(first(oracle(x, *other[1:])) * omx.array(weights)))
        close(grad(mine[0]), expected(other[0]), 2e-4)
    layer.eval()
    oracle.eval()
    same_tree(layer(*mine), oracle(*other), 2e-5)
    same_tree(layer.parameters(), oracle.parameters(), 2e-5)


@pytest.mark.parametrize("name", ["Linear", "Conv2d", "LayerNorm", "GRU", "MultiHeadAttention"])
def test_parameter_gradients_as_mlx(name):
    args, inputs = {
        "Linear": ((4, 3), [SERIES]),
        "Conv2d": ((4, 3, 3), [IMAGE]),
        "LayerNorm": ((4,), [SERIES]),
        "GRU": ((4, 3), [SERIES]),
        "MultiHeadAttention": ((8, 2), [TOKENS] * 3),
    }[name]
    layer, oracle = getattr(nn, name)(*args), getattr(onn, name)(*args)
    copy_parameters(layer, oracle)
    mine, other = ours(inputs), theirs(inputs)
    value, grads = nn.value_and_grad(layer, lambda: mx.sum(mx.square(layer(*mine))))()
    expected = onn.value_and_grad(oracle, lambda: omx.sum(omx.square(oracle(*other))))()
    close(value, expected[0], 1e-3)
    same_tree(grads, expected[1], 1e-3)


FUNCTIONS = [
    "celu",
    "elu",
    "gelu",
    "gelu_approx",
    "gelu_fast_approx",
    "glu",
    "hard_shrink",
    "hard_tanh",
    "hardswish",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu2",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "step",
    "tanh",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_as_mlx(name):
    function, oracle = getattr(nn, name), getattr(onn, name)
    close(function(mx.array(WIDE)), oracle(omx.array(WIDE)), 2e-5)
    half = WIDE.astype(np.float16)
    close(function(mx.array(half)), oracle(omx.array(half)), 1e-2)
    if name != "glu":
        ints = np.array([[-2, 0, 3]], np.int32)
        close(function(mx.array(ints)), oracle(omx.array(ints)), 2e-5)


BY_HAND = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "log_softmax": lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "glu": lambda x: x[:, :4] / (1 + np.exp(-x[:, 4:])),
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_functions_by_formula(name):
    expected = BY_HAND[name](WIDE.astype(np.float64))
    actual = to_numpy(getattr(nn, name)(mx.array(WIDE)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_linear_by_formula():
    layer, x = nn.Linear(3, 4), normal(5, 3)
    w, b = to_numpy(layer.weight), to_numpy(layer.bias)
    np.testing.assert_allclose(to_numpy(layer(mx.array(x))), x @ w.T + b, rtol=1e-5, atol=1e-5)
    assert np.abs(w).max() <= 1 / math.sqrt(3)


def naive_conv2d(x, w, stride, padding):
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    kh, kw = w.shape[1:3]
    h, v = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((x.shape[0], h, v, w.shape[0]))
    for i in range(h):
        for j in range(v):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.einsum("nhwc,ohwc->no", window, w)
    return y


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (1, 2)])
def test_conv2d_by_formula(stride, padding):
    layer = nn.Conv2d(4, 3, 3, stride=stride, padding=padding)
    expected = naive_conv2d(IMAGE, to_numpy(layer.weight), stride, padding)
    np.testing.assert_allclose(to_numpy(layer(mx.array(IMAGE))), expected, rtol=1e-4, atol=1e-4)


def test_norms_by_formula():
    x = SERIES
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    close(nn.LayerNorm(4)(mx.array(x)), (x - mean) / np.sqrt(var + np.float32(1e-5)))
    rms = np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5))
    close(nn.RMSNorm(4)(mx.array(x)), x / rms)
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    close(nn.InstanceNorm(4)(mx.array(x)), (x - mean) / np.sqrt(var + np.float32(1e-5)))
    g = x.reshape(2, 9, 2, 2)
    mean, var = g.mean((1, 3), keepdims=True), g.var((1, 3), keepdims=True)
    expected = ((g - mean) / np.sqrt(var + np.float32(1e-5))).reshape(x.shape)
    close(nn.GroupNorm(2, 4, pytorch_compatible=True)(mx.array(x)), expected)


def test_batch_norm_statistics():
    layer, x = nn.BatchNorm(4, momentum=0.25), 3 + 2 * IMAGE
    y = to_numpy(layer(mx.array(x)))
    np.testing.assert_allclose(y.mean((0, 1, 2)), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), np.ones(4), atol=1e-3)
    flat = x.reshape(-1, 4)
    close(layer.running_mean, 0.25 * flat.mean(0))
    close(layer.running_var, (0.75 + 0.25 * flat.var(0, ddof=1)).astype(np.float32))
    layer.eval()
    before = to_numpy(layer.running_mean)
    y = to_numpy(layer(mx.array(x)))
    close(layer.running_mean, before)
    expected = (x - before) / np.sqrt(to_numpy(layer.running_var) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_statistics_stay_frozen():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2))
    model.freeze()
    model.unfreeze()
    assert set(model.layers[1].trainable_parameters()) == {"weight", "bias"}
    assert set(model.layers[1].parameters()) == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 1, 0), (2, 3, 0)]
)
def test_pooling_by_formula(kernel, stride, padding):
    width = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    for layer, fill, reduce in ((nn.MaxPool2d, -np.inf, np.max), (nn.AvgPool2d, 0, np.mean)):
        x = np.pad(IMAGE, width, constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))
        expected = reduce(windows[:, ::stride, ::stride], axis=(-1, -2))
        close(layer(kernel, stride, padding)(mx.array(IMAGE)), expected.astype(np.float32))


def test_pooling_of_integers_and_views():
    x = np.arange(12, dtype=np.int32).reshape(1, 6, 2)
    close(nn.MaxPool1d(2, padding=1)(mx.array(-x)), -x[:, [0, 1, 3, 5]])
    flipped = mx.array(IMAGE).transpose(0, 2, 1, 3)
    expected = to_numpy(nn.MaxPool2d(3, 1)(mx.array(IMAGE))).transpose(0, 2, 1, 3)
    close(nn.MaxPool2d(3, 1)(flipped), expected)


def test_embedding():
    layer = nn.Embedding(10, 4)
    w, i = to_numpy(layer.weight), np.array([[1, 2], [9, 0]], np.int32)
    close(layer(mx.array(i)), w[i])
    x = normal(3, 4)
    close(layer.as_linear(mx.array(x)), x @ w.T)
    big = to_numpy(nn.Embedding(500, 16).weight)
    assert abs(big.std() - 0.25) < 0.02
    _, grads = nn.value_and_grad(layer, lambda: mx.sum(layer(mx.array([1, 1, 3]))))()
    expected = np.zeros((10, 4), np.float32)
    expected[[1, 3]] = [[2], [1]]
    close(grads["weight"], expected)


def test_attention_by_formula():
    layer = nn.MultiHeadAttention(8, 2)
    w = {name: to_numpy(getattr(layer, name).weight) for name in layer.children()}

    def heads(x, name):
        return (x @ w[name].T).reshape(2, -1, 2, 4).transpose(0, 2, 1, 3)

    names = ("query_proj", "key_proj", "value_proj")
    q, k, v = (heads(TOKENS, name) for name in names)
    scores = q @ k.transpose(0, 1, 3, 2) / 2 + MASK
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    expected = (p @ v).transpose(0, 2, 1, 3).reshape(2, 5, 8) @ w["out_proj"].T
    mask = nn.MultiHeadAttention.create_additive_causal_mask(5)
    x = mx.array(TOKENS)
    close(layer(x, x, x, mask), expected)


def test_dropout():
    layer = nn.Dropout(0.25)
    x = mx.ones((100, 100))
    y = to_numpy(layer(x))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert abs((y == 0).mean() - 0.25) < 0.03
    layer.eval()
    close(layer(x), np.ones((100, 100), np.float32))
    close(nn.Dropout(0.0)(x), np.ones((100, 100), np.float32))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout2d, (3, 4, 5, 64)),
        (nn.Dropout2d, (4, 5, 64)),
        (nn.Dropout3d, (3, 2, 4, 5, 64)),
        (nn.Dropout3d, (2, 4, 5, 64)),
    ],
)
def test_dropout_of_channels(layer, shape):
    y = to_numpy(layer(0.5)(mx.ones(shape)))
    spatial = 2 if layer is nn.Dropout2d else 3
    channels = y.reshape(-1, math.prod(shape[-1 - spatial : -1]), shape[-1])
    assert (channels == channels[:, :1]).all(), "a channel is kept or dropped whole"
    assert 0 < (channels[:, 0] == 0).mean() < 1


def test_sequential_takes_functions():
    model = nn.Sequential(nn.Linear(2, 3), nn.relu, lambda x: x + 1)
    assert float(mx.min(model(mx.ones((4, 2)))).item()) >= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Linear(3, 4)(mx.ones((2, 5))), r"Linear: expected .* \(..., 3\), got \(2, 5\)"),
        (lambda: nn.Bilinear(3, 4, 5)(mx.ones((2, 3)), mx.ones((2, 3))), "Bilinear: expected"),
        (lambda: nn.Conv2d(3, 4, 3)(mx.ones((2, 5, 5, 4))), r"Conv2d: expected \(N, H, W, 3\)"),
        (lambda: nn.Conv1d(3, 4, 3)(mx.ones((2, 3))), r"Conv1d: expected \(N, W, 3\)"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "divisible by groups, got 3, 4 and 2"),
        (
            lambda: nn.Conv2d(3, 4, (3, 3, 3)),
            r"kernel_size to be an int or 2 ints, got \(3, 3, 3\)",
        ),
        (lambda: nn.BatchNorm(4)(mx.ones((4,))), "BatchNorm: expected 2, 3 or 4 dimensions"),
        (lambda: nn.BatchNorm(4)(mx.ones((2, 3))), "BatchNorm: expected 4 channels last"),
        (
            lambda: nn.GroupNorm(3, 4),
            "GroupNorm: expected dims divisible by num_groups, got 4 and 3",
        ),
        (lambda: nn.InstanceNorm(4)(mx.ones((2, 4))), "InstanceNorm: expected at least 3 dimens"),
        (lambda: nn.MaxPool2d((1, 2, 3)), "MaxPool2d: expected kernel_size to be an int or 2 ints"),
        (lambda: nn.MaxPool1d(0), "MaxPool1d: expected kernel_size of at least 1, got 0"),
        (lambda: nn.AvgPool1d(2, padding=-1), "AvgPool1d: expected padding of at least 0, got -1"),
        (lambda: nn.MaxPool2d(2)(mx.ones((4, 4, 3))), r"MaxPool2d: expected \(N, H, W, C\), got"),
        (lambda: nn.Dropout(1.0), r"Dropout: expected p in \[0, 1\), got 1.0"),
        (lambda: nn.Dropout2d()(mx.ones((2, 2))), "Dropout2d: expected 3 or 4 dimensions"),
        (lambda: nn.GELU("foo"), "GELU: expected approx in .*'none'.*, got 'foo'"),
        (lambda: nn.glu(mx.ones((2, 3))), "glu: expected an even size along axis -1"),
        (lambda: nn.MultiHeadAttention(7, 2), "divisible by num_heads, got 7 and 2"),
        (lambda: nn.RNN(3, 4)(mx.ones((5, 2))), r"RNN: expected \(..., L, 3\), got \(5, 2\)"),
        (lambda: nn.RNN(3, 4, nonlinearity=3), "RNN: expected a callable nonlinearity, got 3"),
        (
            lambda: nn.Upsample(2, mode="x"),
            "Upsample: expected mode 'nearest', 'linear' or 'cubic'",
        ),
        (lambda: nn.Upsample((2, 3))(mx.ones((1, 2, 1))), "one scale for each of 1 spatial axes"),
        (lambda: nn.SinusoidalPositionalEncoding(7), "expected even dims, got 7"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def public(module):
    # Sharded and quantized layers are not part of this package yet.
    later = ("Quantized", "Sharded", "QQ")
    return sorted(
        n
        for n, v in vars(module).items()
        if inspect.isclass(v) and issubclass(v, module.Module) and not any(s in n for s in later)
    )


def test_every_layer_is_there():
    assert public(nn) == public(onn)
    tested = {case[0] for case in CASES + ACTIVATIONS}
    apart = {"Module", "Sequential", "Embedding", "Dropout", "Dropout2d", "Dropout3d"}
    layers = {"TransformerEncoderLayer", "TransformerDecoderLayer"}
    assert set(public(nn)) == tested | apart | layers


@pytest.mark.parametrize("name", public(nn))
def test_signature(name):
    def parameters(cls):
        found = inspect.signature(cls.__init__).parameters.values()
        return [(p.name, "fn" if callable(p.default) else p.default, p.kind) for p in found]

    assert parameters(getattr(nn, name)) == parameters(getattr(onn, name))


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [(n, a, k) for n, a, k, _ in CASES if n not in ("RNN", "TransformerEncoder")],
)
def test_repr_as_mlx(name, args, kwargs):
    assert repr(getattr(nn, name)(*args, **kwargs)) == repr(getattr(onn, name)(*args, **kwargs))
