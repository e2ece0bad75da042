"""Layers, losses, modules, optimizers and trees beside MLX's, on the same parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
from both import check_all, spread

# `same(layer)` gives a layer of either side parameters that depend on their paths and shapes alone.
SAME = """
def same(layer):
    def value(path, p):
        n = np.arange(p.size, dtype=np.float32).reshape(p.shape)
        x = np.sin(n * 0.7 + sum(map(ord, path)))
        return mx.array(np.abs(x) if 'var' in path else x).astype(p.dtype)
    flat = [(k, value(k, v)) for k, v in utils.tree_flatten(layer.parameters())
            if mx.issubdtype(v.dtype, mx.floating) and not k.endswith('_freqs')]
    layer.update(utils.tree_unflatten(flat))
    return layer
"""

LAYERS = [
    "nn.Linear(4, 3)(x(2, 4))",
    "nn.Linear(4, 3, bias=False)(x(2, 2, 4))",
    "nn.Linear(4, 3)(x(2, 5))",
    "nn.Bilinear(4, 3, 2)(x(5, 4), x(5, 3))",
    "nn.Identity(3, a=2)(x(2, 4))",
    "nn.Embedding(7, 4)(mx.array([[0, 6], [3, 3]]))",
    "nn.Embedding(7, 4).as_linear(x(2, 4))",
    "nn.Conv1d(4, 6, 3{c})(x(2, 9, 4))",
    "nn.Conv1d(4, 6, 3, groups=2)(x(2, 9, 4))",
    "nn.Conv2d(4, 6, 3{c})(x(2, 9, 8, 4))",
    "nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), bias=False)(x(2, 9, 8, 4))",
    "nn.Conv3d(2, 3, 2{c})(x(1, 6, 7, 5, 2))",
    "nn.ConvTranspose1d(4, 6, 3{c})(x(2, 5, 4))",
    "nn.ConvTranspose2d(4, 6, 3{c})(x(2, 5, 4, 4))",
    "nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1)(x(2, 5, 4, 4))",
    "nn.ConvTranspose3d(2, 3, 2{c})(x(1, 3, 4, 3, 2))",
    "nn.{pool}1d({k})(x(2, 9, 3))",
    "nn.{pool}2d({k})(x(2, 9, 8, 3))",
    "nn.{pool}3d({k})(x(1, 5, 6, 5, 2))",
    "nn.{pool}2d((3, 2), (2, 1), (1, 0))(x(2, 9, 8, 3))",
    "nn.{pool}2d((3, 2, 1))",
    "nn.{pool}1d('a')",
    "nn.BatchNorm(4{n})(x(6, 4))",
    "nn.BatchNorm(4)(x(2, 5, 5, 4))",
    "nn.BatchNorm(4)(x(4))",
    "l = nn.BatchNorm(4); l(x(6, 4)); [l.running_mean, l.running_var]",
    "l = nn.BatchNorm(4); l.eval(); l(x(6, 4))",
    "nn.LayerNorm(4)(x(2, 3, 4))",
    "nn.LayerNorm(4, affine=False)(x(2, 4))",
    "nn.LayerNorm(4, bias=False)(x(2, 4))",
    "nn.RMSNorm(4)(x(2, 3, 4))",
    "nn.GroupNorm(2, 4{g})(x(2, 3, 5, 4))",
    "nn.GroupNorm(3, 4)(x(2, 3, 4))",
    "nn.InstanceNorm(4)(x(2, 5, 4))",
    "nn.InstanceNorm(4, affine=True)(x(2, 5, 5, 4))",
    "nn.Dropout(0.0)(x(2, 4))",
    "nn.Dropout(1.0)",
    "nn.Dropout(-0.1)",
    "l = nn.Dropout(0.5); l.eval(); l(x(2, 4))",
    "mx.random.seed(1); nn.Dropout(0.5)(x(4, 4))",
    "mx.random.seed(1); nn.Dropout2d(0.5)(x(2, 3, 3, 4))",
    "mx.random.seed(1); nn.Dropout3d(0.5)(x(2, 3, 3, 3, 4))",
    "nn.Dropout2d(0.5)(x(4))",
    "nn.RNN(4, 3)(x(2, 5, 4))",
    "nn.RNN(4, 3)(x(5, 4), x(3))",
    "nn.RNN(4, 3, nonlinearity=nn.relu)(x(5, 4))",
    "nn.RNN(4, 3, nonlinearity=3)",
    "nn.GRU(4, 3)(x(2, 5, 4))",
    "nn.GRU(4, 3, bias=False)(x(5, 4), x(3))",
    "nn.LSTM(4, 3)(x(2, 5, 4))",
    "nn.LSTM(4, 3)(x(5, 4), x(3), x(3))",
    "nn.LSTM(4, 3, bias=False)(x(2, 5, 4), x(2, 3), x(2, 3))",
    "nn.MultiHeadAttention(8, 2)(x(2, 3, 8), x(2, 5, 8), x(2, 5, 8))",
    "nn.MultiHeadAttention(8, 2, bias=True)(x(1, 3, 8), x(1, 3, 8), x(1, 3, 8), nn.MultiHeadAttention.create_additive_causal_mask(3))",
    "nn.MultiHeadAttention(8, 2, query_input_dims=4, key_input_dims=5, value_input_dims=6, value_dims=4, value_output_dims=7)(x(2, 3, 4), x(2, 3, 5), x(2, 3, 6))",
    "nn.MultiHeadAttention(8, 3)",
    "nn.MultiHeadAttention.create_additive_causal_mask(4, mx.float16)",
    "nn.TransformerEncoder(2, 8, 2, norm_first={b})(x(2, 3, 8), None)",
    "nn.TransformerEncoder(1, 8, 2, 12, activation=nn.gelu, checkpoint=True)(x(2, 3, 8), None)",
    "nn.TransformerEncoderLayer(8, 2, 12, norm_first={b})(x(2, 3, 8), None)",
    "nn.TransformerEncoderLayer(8, 3)",
    "nn.TransformerDecoderLayer(8, 2, norm_first={b})(x(2, 3, 8), x(2, 4, 8), None, None)",
    "nn.TransformerDecoder(1, 8, 2, norm_first={b})(x(2, 3, 8), x(2, 4, 8), None, None)",
    "nn.Transformer(8, 2, 1, 1, 16)(x(2, 3, 8), x(2, 4, 8), None, None, None)",
    "nn.RoPE(8, traditional={b}, base=100, scale=0.5)(x(2, 3, 8), offset=2)",
    "nn.ALiBi()(x(2, 4, 3, 5))",
    "nn.ALiBi()(x(2, 4, 3, 5), offset=2, mask=mx.zeros((3, 5)))",
    "nn.SinusoidalPositionalEncoding(8{s})(mx.arange(5))",
    "nn.Upsample({u}, mode='{m}', align_corners={b})(x(1, 4, 5, 2))",
    "nn.Upsample(2, mode='linear')(x(1, 4, 2))",
    "nn.Upsample(2, mode='cubic')(x(1, 4, 2))",
    "nn.Upsample(2, mode='nearest')(x(1, 3, 2, 2, 2))",
    "nn.Upsample(2, mode='x')",
    "nn.Upsample(0.5, mode='linear', antialias=True)(x(1, 6, 2))",
    "nn.GLU()(x(2, 4))",
    "nn.GLU(axis=0)(x(2, 4))",
    "nn.PReLU()(x(2, 4))",
    "nn.PReLU(4)(x(2, 4))",
    "nn.prelu(x(2, 4), x(4))",
    "nn.prelu(x(2, 4), mx.array(0.1))",
    "nn.Sequential(nn.Linear(4, 3), nn.relu, nn.Linear(3, 2))(x(2, 4))",
    "nn.{act}()(x(3, 4))",
    "nn.{fn}(x(3, 4))",
    "nn.{fn}(x(3, 4).astype(mx.float16))",
    "nn.leaky_relu(x(3, 4), 0.2)",
    "nn.leaky_relu(x(3, 4), negative_slope=0.2)",
    "nn.elu(x(3, 4), alpha=0.5)",
    "nn.celu(x(3, 4), 2.0)",
    "nn.softmax(x(3, 4), axis=0)",
    "nn.hard_tanh(x(3, 4), -0.5, max_val=0.25)",
    "nn.softshrink(x(3, 4), lambd=0.1)",
    "nn.hard_shrink(x(3, 4), 0.1)",
    "nn.step(x(3, 4), threshold=0.1)",
    "nn.glu(x(3, 4), axis=0)",
    "nn.glu(x(3, 3))",
    "nn.GELU(approx='{a}')(x(3, 4))",
    "nn.LeakyReLU(0.3)(x(3, 4))",
    "nn.CELU(alpha=2.0)(x(3, 4))",
    "nn.Step(0.2)(x(3, 4))",
]
ACTIVATIONS = [
    "celu",
    "elu",
    "gelu",
    "gelu_approx",
    "gelu_fast_approx",
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
CLASSES = [
    "CELU",
    "ELU",
    "GELU",
    "HardShrink",
    "HardTanh",
    "Hardswish",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
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


def _with_same_parameters(program: str) -> str:
    """The layer that a program makes gets the parameters of `same`."""
    head, _, call = program.rpartition("; ")
    open_at = call.find("(")
    if call.startswith("nn.") and call[3].isupper() and not call.startswith("nn.Multi.create"):
        depth = 0
        for at in range(open_at, len(call)):
            depth += {"(": 1, ")": -1}.get(call[at], 0)
            if depth == 0:
                break
        if "create_additive" not in call[:at]:
            call = f"same({call[: at + 1]}){call[at + 1 :]}"
    head = head.replace("l = nn.BatchNorm(4)", "l = same(nn.BatchNorm(4))")
    return f"{SAME}x = lambda *s: a('float32', *s)\n{head + chr(10) if head else ''}{call}"


@pytest.mark.parametrize("template", LAYERS)
def test_layers(template: str) -> None:
    programs = spread(
        template,
        c=["", ", stride=2", ", padding=1", ", dilation=2", ", 2, 1", ", bias=False"],
        pool=["MaxPool", "AvgPool"],
        k=["2", "3, 2", "3, 2, 1", "kernel_size=2, stride=1", "2, padding=1"],
        n=["", ", affine=False", ", track_running_stats=False", ", momentum=0.5, eps=0.1"],
        g=["", ", affine=False", ", pytorch_compatible=True", ", eps=0.1"],
        b=["True", "False"],
        s=["", ", cos_first=True", ", scale=1.0, full_turns=True", ", min_freq=0.1, max_freq=2"],
        u=["2", "(2, 3)", "1.5", "0.5", "(1.5, 0.6)"],
        m=["nearest", "linear", "cubic"],
        act=CLASSES,
        fn=ACTIVATIONS,
        a=["none", "precise", "tanh", "fast", "x"],
    )
    check_all((_with_same_parameters(p) for p in programs), 5e-5)


P, Q = "a('float32', 4, 3, low=0.1, high=0.9)", "a('float32', 4, 3, low=0.1, high=0.9, seed=1)"
LOSSES = [
    f"nn.losses.binary_cross_entropy({P}, {Q}{{r}})",
    f"nn.losses.binary_cross_entropy({P}, {Q}, weights=a('float32', 4, 3, low=0), with_logits={{b}}{{r}})",
    f"nn.losses.binary_cross_entropy({P}, {Q}, a('float32', 4))",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2, 1, 1]){{r}})",
    f"t = {Q}; nn.losses.cross_entropy({P}, t / t.sum(-1, keepdims=True){{r}})",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2, 1, 1]), label_smoothing=0.1{{r}})",
    f"nn.losses.cross_entropy({P}, mx.softmax({Q}, axis=-1), label_smoothing=0.2{{r}})",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2, 1, 1]), weights=mx.array([1.0, 0.0, 2.0, 1.0]){{r}})",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2, 1]), axis=0)",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2]))",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2, 1, 1]), label_smoothing={{l}})",
    f"nn.losses.cross_entropy({P}, mx.array([0, 2, 1, 1]), weights=mx.ones(3))",
    f"nn.losses.l1_loss({P}, {Q}{{r}})",
    f"nn.losses.mse_loss({P}, {Q}{{r}})",
    f"nn.losses.mse_loss({P}, a('float32', 4))",
    f"nn.losses.nll_loss({P}, mx.array([0, 2, 1, 1]){{r}})",
    f"nn.losses.nll_loss({P}, mx.array([0, 2, 1]), axis=0)",
    f"nn.losses.gaussian_nll_loss({P}, {Q}, mx.abs({Q}), full={{b}}{{r}})",
    f"nn.losses.gaussian_nll_loss({P}, {Q}, mx.abs({Q})[0])",
    f"nn.losses.kl_div_loss({P}, {Q}{{r}})",
    f"nn.losses.kl_div_loss({P}, {Q}, axis=0)",
    f"nn.losses.smooth_l1_loss({P}, {Q}, beta=0.2{{r}})",
    f"nn.losses.triplet_loss({P}, {Q}, {P} * 2, p=1, margin=0.5{{r}})",
    f"nn.losses.triplet_loss({P}, {Q}, {P} * 2, axis=0)",
    f"nn.losses.hinge_loss({P}, mx.sign({Q} - 0.5){{r}})",
    f"nn.losses.huber_loss({P} * 5, {Q}, delta=0.5{{r}})",
    f"nn.losses.log_cosh_loss({P}, {Q}{{r}})",
    f"nn.losses.cosine_similarity_loss({P}, {Q}{{r}})",
    f"nn.losses.cosine_similarity_loss({P}, {Q}, axis=0, eps=0.1)",
    f"nn.losses.margin_ranking_loss({P}, {Q}, mx.sign({Q} - 0.5), margin=0.1{{r}})",
    f"nn.losses.margin_ranking_loss({P}, {Q}, mx.ones(3))",
]


@pytest.mark.parametrize("template", LOSSES)
def test_losses(template: str) -> None:
    reductions = ["", *(f", reduction='{r}'" for r in ("none", "mean", "sum", "x"))]
    check_all(spread(template, r=reductions, b=["True", "False"], l=["0", "1.0", "-0.1"]), 2e-5)


MODEL = (
    SAME
    + """
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = mx.ones((2, 3))
        self._hidden = mx.ones(2)
        self.name = 'part'
        self.inner = nn.Linear(3, 2)
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = [Part(), {'k': Part(), 'n': 3}]
        self.norm = nn.BatchNorm(2)
        self.single = mx.zeros((2,))
        self.maybe = None
    def __call__(self, x):
        return (self.parts[0].inner(x) * self.single).sum()
m = same(Model())
flat = lambda t: sorted((k, type(v).__name__) for k, v in utils.tree_flatten(t))
names = lambda: sorted(k for k, _ in utils.tree_flatten(m.trainable_parameters()))
"""
)
MODULES = [
    "m.parameters()",
    "m.trainable_parameters()",
    "flat(m.children())",
    "flat(m.leaf_modules())",
    "[type(x).__name__ for x in m.modules()]",
    "[(k, type(x).__name__) for k, x in m.named_modules()]",
    "repr(m)",
    "repr(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Conv2d(1, 2, 3)))",
    "repr([nn.LayerNorm(3), nn.RMSNorm(3), nn.GroupNorm(1, 3), nn.BatchNorm(3), nn.InstanceNorm(3)])",
    "repr([nn.Embedding(3, 4), nn.Dropout(0.3), nn.MaxPool2d(2), nn.AvgPool1d(3, 2, 1), nn.RoPE(4)])",
    "repr([nn.LSTM(2, 3), nn.GRU(2, 3), nn.RNN(2, 3), nn.Bilinear(2, 3, 4), nn.Upsample(2)])",
    "repr([nn.QuantizedLinear(64, 32), nn.QuantizedEmbedding(10, 64)])",
    "repr([nn.ConvTranspose1d(2, 3, 4), nn.ConvTranspose2d(2, 3, 4), nn.Conv1d(2, 3, 4), nn.Conv3d(2, 3, 4)])",
    "repr([nn.PReLU(), nn.GELU(), nn.ALiBi(), nn.SinusoidalPositionalEncoding(8), nn.Identity(), nn.GLU()])",
    "m.training, m.norm.training, m.eval().training, m.norm.training, m.train().training",
    "m.train(False).parts[1]['k'].training",
    "m.freeze(); names()",
    "m.freeze(recurse=False); names()",
    "m.freeze(keys='weight'); names()",
    "m.freeze(keys=['weight', 'single']); names()",
    "m.freeze(keys='nothing'); names()",
    "m.freeze(keys='nothing', strict=True)",
    "m.freeze(); m.unfreeze(keys='bias'); names()",
    "m.freeze(); m.parts[0].unfreeze(); names()",
    "m.freeze(); m.unfreeze(recurse=False); names()",
    "m.unfreeze(); names()",
    "m.freeze() is m, m.unfreeze() is m, m.train() is m, m.eval() is m, m.update({}) is m",
    "m.update({'single': mx.ones(2)}); m.single",
    "m.update({'parts': [{}, {'k': {'w': mx.zeros(3)}}]}); m.parts[1]['k'].w",
    "m.update({'absent': mx.ones(2)})",
    "m.update({'absent': mx.ones(2)}, strict=False); 'absent' in m",
    "m.update({'single': 3})",
    "m.update({'parts': [{'w': mx.ones(1)}]}); m.parts[0].w",
    "m.update([1, 2])",
    "m.update_modules({'norm': nn.LayerNorm(2)}); type(m.norm).__name__",
    "m.update_modules({'parts': [nn.Linear(2, 2)]}); type(m.parts[0]).__name__",
    "m.update_modules({'absent': nn.Linear(2, 2)})",
    "m.update_modules({'single': nn.Linear(2, 2)})",
    "m.update_modules({'norm': 3})",
    "m.apply(lambda x: x + 1); m.parameters()",
    "m.apply(lambda x: x.astype(mx.float16), lambda mod, k, v: k == 'weight'); m.parameters()",
    "m.apply_to_modules(lambda k, mod: setattr(mod, 'seen', k)); m.parts[0].inner.seen",
    "m.filter_and_map(lambda mod, k, v: isinstance(v, mx.array))",
    "m.filter_and_map(nn.Module.valid_parameter_filter, lambda x: x.shape)",
    "m.filter_and_map(lambda mod, k, v: True, lambda x: 1, lambda mod, k, v: isinstance(v, nn.Module))",
    "m.set_dtype(mx.float16); m.parameters()",
    "m.set_dtype(mx.float16, predicate=lambda d: False); m.single.dtype",
    "m.set_dtype(mx.int32, None); m.single.dtype",
    "m.single.dtype, m.maybe, m.state['single'], list(m.keys()), len(m), 'single' in m",
    "sorted(m.state)",
    "m.absent",
    "del m.single; m.single",
    "del m.absent; 1",
    "m.single = 3; m.single, 'single' in m",
    "m['single']",
    "m.items is not None and sorted(m.items())[0][0]",
    "m.load_weights([('single', mx.ones(2))])",
    "m.load_weights([('single', mx.ones(2))], strict=False); m.single",
    "m.load_weights([('single', mx.ones(3))], strict=False)",
    "m.load_weights([(k, v + 1) for k, v in utils.tree_flatten(m.parameters())]); m.parameters()",
    "m.load_weights([(k, v) for k, v in utils.tree_flatten(m.parameters())] + [('extra', mx.ones(1))])",
    "m.load_weights([(k, v) for k, v in utils.tree_flatten(m.parameters())] + [('extra', mx.ones(1))], strict=False) is m",
    "m.load_weights([(k, 3) for k, v in utils.tree_flatten(m.parameters())])",
    "m.save_weights(t + '/m.safetensors'); n = Model(); n.load_weights(t + '/m.safetensors'); n.parameters()",
    "m.save_weights(t + '/m.npz'); n = Model(); n.load_weights(t + '/m.npz'); n.parameters()",
    "m.save_weights(t + '/m.txt')",
    "m.load_weights(t + '/none.npz')",
    "nn.value_and_grad(m, m)(mx.ones((1, 3)))",
    "m.freeze(keys=['weight']); nn.value_and_grad(m, lambda x: m(x))(mx.ones((1, 3)))",
    "nn.value_and_grad(m, lambda x, k=1: (m(x) * k, x))(mx.ones((1, 3)), k=2)",
    "nn.utils.checkpoint(m)(mx.ones((1, 3)))",
    "nn.value_and_grad(m, nn.utils.checkpoint(m))(mx.ones((1, 3)))",
    "import copy; n = copy.deepcopy(m); n.single = mx.ones(2) * 9; m.single",
    "import copy; n = copy.copy(m); type(n).__name__",
    "import pickle; q = pickle.loads(pickle.dumps(nn.Linear(2, 3))); sorted(q.parameters())",
    "nn.Module.is_module(m), nn.Module.is_module(3)",
    "m.eval(); m(mx.ones((1, 3)))",
    "class E(nn.Module):\n    def __init__(self):\n        self.x = 1\nE().x",
    "class E(nn.Module):\n    pass\ne = E(); e.w = mx.ones(2); e.sub = [nn.Linear(1, 1)]; e.parameters().keys()",
    "nn.Module()(3)",
]


@pytest.mark.parametrize("program", MODULES)
def test_modules(program: str, tmp_path: Path) -> None:
    check_all([f"{MODEL}{program}"], 2e-5, t=str(tmp_path))


TRAIN = """
p = {'a': a('float32', 3, 4), 'b': [a('float32', 4), {'c': a('float32', 2, 2, 2)}]}
g = utils.tree_map(lambda x: x * 0.3 + 0.1, p)
def steps(o, n=3):
    q = p
    for _ in range(n):
        q = o.apply_gradients(g, q)
    return q
"""
MAKERS = [
    "optim.SGD(0.1{s})",
    "optim.RMSprop(0.1, alpha=0.9)",
    "optim.Adagrad(0.1)",
    "optim.AdaDelta(0.1, rho=0.8)",
    "optim.Adam(0.1{b})",
    "optim.AdamW(0.1, weight_decay=0.1{b})",
    "optim.Adamax(0.1)",
    "optim.Lion(0.01, weight_decay=0.1)",
    "optim.Muon(0.02)",
    "optim.Muon(0.02, nesterov=False, ns_steps=3)",
    "optim.Adafactor()",
    "optim.Adafactor(0.1, relative_step=False, scale_parameter={f}, beta_1=0.9)",
    "optim.Adafactor(0.1, relative_step=False, warmup_init=True, weight_decay=0.1)",
    "optim.MultiOptimizer([optim.Adam(0.1), optim.SGD(0.1)], [lambda k, w: w.ndim > 1])",
    "optim.SGD(optim.cosine_decay(0.1, 10))",
    "optim.Adam(optim.join_schedules([optim.linear_schedule(0, 0.1, 2), optim.step_decay(0.1, 0.5, 1)], [2]))",
]
OPTIMIZERS = [
    *(f"o = {m}; steps(o)" for m in MAKERS),
    *(f"o = {m}; steps(o, 2); o.state" for m in MAKERS),
    *(f"o = {m}; o.init(p); o.state" for m in MAKERS),
    *(f"o = {m}; steps(o); [o.learning_rate, o.step]" for m in MAKERS if "Multi" not in m),
    "o = optim.Adam(0.1); o.learning_rate = 0.5; o.learning_rate",
    "o = optim.Adam(0.1); o.state = {{'step': mx.array(5)}}; o.state",
    "o = optim.Adam(0.1); steps(o, 1); s = o.state; n = optim.Adam(0.1); n.state = s; steps(n, 1)",
    "l = nn.Linear(2, 2); o = optim.SGD(0.1); o.update(l, l.trainable_parameters()); sorted(l.parameters())",
    "optim.SGD(0.1, nesterov=True)",
    "optim.SGD(0.1, momentum=0.9, dampening=0.1, nesterov=True)",
    "optim.RMSprop(0.1, alpha=-1)",
    "optim.RMSprop(0.1, eps=-1)",
    "optim.AdaDelta(0.1, rho=-1)",
    "optim.AdaDelta(0.1, eps=-1)",
    "optim.Adagrad(0.1, eps=-1)",
    "optim.Adamax(0.1, eps=-1)",
    "optim.MultiOptimizer([optim.SGD(0.1)], [lambda k, w: True])",
    "optim.MultiOptimizer([])",
    "optim.clip_grad_norm(g, {n})",
    "optim.clip_grad_norm({{}}, 1.0)",
    "[optim.cosine_decay(0.1, 10, 0.01)(mx.array(k)) for k in (0, 3, 10, 20)]",
    "[optim.exponential_decay(0.1, 0.9)(k) for k in (0, 3)]",
    "[optim.step_decay(0.1, 0.5, 4)(k) for k in (0, 3, 4, 9)]",
    "[optim.linear_schedule(0.1, 1.0, 4)(k) for k in (0, 3, 4, 9)]",
    "[optim.linear_schedule(0.1, 1.0, 4)(mx.array(k)) for k in (0, 3, 4, 9)]",
    "optim.linear_schedule(0.1, 1.0, 0)",
    "j = optim.join_schedules([optim.linear_schedule(0, 1, 3), optim.exponential_decay(1.0, 0.5)], [3]); [j(mx.array(k)) for k in range(6)]",
    "optim.join_schedules([], [])",
    "optim.join_schedules([optim.linear_schedule(0, 1, 3)], [3])",
    "optim.join_schedules([lambda k: k] * 2, [])",
]


@pytest.mark.parametrize("template", OPTIMIZERS)
def test_optimizers(template: str) -> None:
    programs = spread(
        template,
        s=[
            "",
            ", momentum=0.9",
            ", momentum=0.9, nesterov=True",
            ", weight_decay=0.1, momentum=0.5, dampening=0.2",
        ],
        b=["", ", betas=[0.8, 0.9], eps=1e-3", ", bias_correction=True"],
        f=["True", "False"],
        n=["0.5", "1", "100.0", "0.0"],
    )
    check_all((TRAIN + p for p in programs), 1e-4)


TREES = [
    "utils.tree_map(lambda x: x + 1, {t})",
    "utils.tree_map(lambda x, y: (x, y), {t}, {t})",
    "utils.tree_map(lambda x: 0, {t}, is_leaf=lambda x: isinstance(x, list))",
    "utils.tree_map_with_path(lambda k, x: (k, x), {t})",
    "utils.tree_map_with_path(lambda k, x: k, {t}, path='p')",
    "utils.tree_flatten({t})",
    "utils.tree_flatten({t}, prefix='.p')",
    "utils.tree_flatten({t}, is_leaf=lambda x: isinstance(x, list))",
    "utils.tree_flatten({t}, destination={{}})",
    "utils.tree_flatten({t}, destination=[('z', 1)])",
    "utils.tree_flatten({t}, destination=3)",
    "utils.tree_unflatten(utils.tree_flatten({t}))",
    "utils.tree_unflatten(utils.tree_flatten({t}, destination={{}}))",
    "utils.tree_unflatten([('a.0', 1), ('a.2', 2), ('b.x', 3)])",
    "utils.tree_unflatten([])",
    "utils.tree_unflatten([('', 3)])",
    "utils.tree_reduce(lambda x, y: x + y, {t}, 0)",
    "utils.tree_reduce(lambda x, y: x + y, {t})",
    "utils.tree_reduce(lambda x, y: x + 1, {t}, 0, lambda x: isinstance(x, list))",
    "utils.tree_merge({{'a': 1}}, {{'zz': 5}})['zz']",
    "utils.tree_merge({t}, {t})",
    "utils.tree_merge({t}, {t}, lambda x, y: x + y)",
    "utils.tree_merge({{'a': {{}}, 'b': None}}, {{'a': 1, 'b': [2]}})",
    "utils.tree_merge([1, 2], [None, None, 3])",
    "utils.tree_map(lambda x, y: x + y, {{'a': 1}}, {{'b': 1}})",
    "utils.tree_map(lambda x, y: x + y, [1, 2], [1])",
]


@pytest.mark.parametrize("template", TREES)
def test_trees(template: str) -> None:
    trees = [
        "{'a': 1, 'b': [2, (3, 4)]}",
        "[1, 2]",
        "3",
        "{}",
        "[]",
        "{'x': {'y': 1}, 'e': []}",
        "(1, [2])",
    ]
    check_all(spread(template, t=trees))


INITS = [
    "mx.random.seed(2); nn.init.{i}()(mx.zeros({s}))",
    "mx.random.seed(2); nn.init.{i}(dtype=mx.float16)(mx.zeros((3, 4)))",
    "mx.random.seed(2); nn.init.constant(2.5)(mx.zeros({s}))",
    "mx.random.seed(2); nn.init.sparse(0.5)(mx.zeros({s})).shape",
    "mx.random.seed(2); nn.init.normal(1.0, 0.1)(mx.zeros((3, 4)))",
    "mx.random.seed(2); nn.init.uniform(-1, 2)(mx.zeros((3, 4)))",
    "mx.random.seed(2); nn.init.{h}()(mx.zeros((3, 4)), {m})",
    "mx.random.seed(2); nn.init.{h}()(mx.zeros((3, 4)), mode='fan_x')",
    "mx.random.seed(2); nn.init.orthogonal(2.0)(mx.zeros((3, 4))).shape",
    "mx.random.seed(2); nn.init.glorot_normal()(mx.zeros((3, 4)), 2.0)",
    "mx.random.seed(2); nn.init.glorot_uniform()(mx.zeros((3, 2, 2, 4)), gain=2.0)",
    "mx.random.seed(2); [sorted(nn.{l}.parameters()), nn.{l}.parameters()]",
]


@pytest.mark.parametrize("template", INITS)
def test_initial_values(template: str) -> None:
    check_all(
        spread(
            template,
            i=[
                "normal",
                "uniform",
                "identity",
                "glorot_normal",
                "glorot_uniform",
                "he_normal",
                "he_uniform",
            ],
            s=["(3, 4)", "(3,)", "(4, 4)", "(2, 3, 4)"],
            h=["he_normal", "he_uniform"],
            m=["'fan_in'", "'fan_out'", "'fan_in', 2.0"],
            l=[
                "Linear(3, 4)",
                "Conv2d(2, 3, 3)",
                "Embedding(5, 4)",
                "LSTM(2, 3)",
                "GRU(2, 3)",
                "RNN(2, 3)",
                "Bilinear(2, 3, 4)",
                "ConvTranspose1d(2, 3, 4)",
                "MultiHeadAttention(8, 2)",
                "Conv1d(4, 4, 3, groups=2)",
            ],
        ),
        2e-5,
    )
