"""mx.compile(shapeless=True): one trace for all sizes, which is right or refuses."""

from __future__ import annotations

import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from arrays import check, to_numpy
from functions import FUNCTIONS
from lamina import nn, optimizers

SIZES = [(4, 3), (2, 5), (6, 1), (1, 1), (3, 8)]


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed + math.prod(shape)))


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in leaves(item)]
    return [tree]


def same(got: Any, want: Any) -> None:
    for a, b in zip(leaves(got), leaves(want), strict=True):
        if not isinstance(b, mx.array):
            assert type(a) is type(b) and a == b
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-5, atol=1e-6)


def counted(f: Any) -> tuple[Any, list[int]]:
    """`f` compiled without shapes, and a list that grows with each run of its Python."""
    ran: list[int] = []

    def inner(*args: Any, **kwargs: Any) -> Any:
        ran.append(1)
        return f(*args, **kwargs)

    return mx.compile(inner, shapeless=True), ran


def agrees(f: Any, *calls: tuple[Any, ...]) -> None:
    """One trace gives for every call what `f` gives, or the same error."""
    g, ran = counted(f)
    for args in calls:
        try:
            want = f(*args)
            mx.eval(*(x for x in leaves(want) if isinstance(x, mx.array)))
        except (ValueError, IndexError) as error:
            with pytest.raises(type(error)):
                mx.eval(g(*args))
        else:
            same(g(*args), want)
    assert len(ran) == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_many_families(name: str) -> None:
    shapes = [(4, 3), (6, 3), (2, 3), (4, 5), (1, 3), (8, 7), (0, 3)]
    agrees(FUNCTIONS[name], *((normal(*shape),) for shape in shapes))


OF_SIZES: dict[str, Any] = {
    "reshape": lambda x: x.reshape(x.shape[0], -1, 1).reshape(x.shape[1] * x.shape[0]),
    "flatten": lambda x: mx.unflatten(x.flatten(), 0, (-1, x.shape[1])),
    "axes": lambda x: mx.expand_dims(x, (0, 2)).squeeze(0),
    "broadcast": lambda x: mx.broadcast_to(x[:1], x.shape) + mx.zeros(x.shape) + x[:, :1],
    "slices": lambda x: x[: x.shape[0] // 2 + 1, -1:] + x[-1, ::-1][: x.shape[1] // 2 + 1, None].T,
    "constants": lambda x: mx.eye(*x.shape) + mx.full(x.shape, 2) + mx.tri(x.shape[0], x.shape[1]),
    "counting": lambda x: mx.arange(x.shape[1]) + mx.linspace(0, 1, x.shape[1]),
    "real": lambda x: x * x.shape[-1] ** -0.5 + x / len(x.shape) + 1 / x.size,
    "halves": lambda x: mx.arange(x.shape[0] / 2),
    "rounded": lambda x: mx.zeros((math.ceil(x.shape[0] / 2), round(x.shape[1] / 2) + 1)),
    "mean": lambda x: (x.mean(), x.var(axis=0), mx.std(x, axis=1, keepdims=True)),
    "joined": lambda x: mx.concatenate([x, mx.zeros((2, x.shape[1]))]),
    "tiled": lambda x: mx.repeat(mx.tile(x, (1, x.shape[0])), x.shape[1], axis=0),
    "padded": lambda x: mx.pad(x, ((1, x.shape[0]), (0, 2))),
    "assigned": lambda x: x.at[x.shape[0] // 2 :].add(5.0),
    "gathered": lambda x: mx.take(x, mx.arange(x.shape[0])[::-1], axis=0),
    "sorted": lambda x: mx.topk(x, x.shape[1] // 2 + 1, axis=1),
    "grids": lambda x: mx.meshgrid(mx.arange(x.shape[0]), x[0]),
    "drawn": lambda x: x + mx.random.uniform(shape=x.shape, key=mx.random.key(1)),
    "normed": lambda x: mx.linalg.norm(x, axis=1) / mx.array(x.shape[0]),
    "transformed": lambda x: mx.abs(mx.fft.fft2(x)),
    "returned": lambda x: {"x": x, "rows": x.shape[0] * 2, "half": x.size / 2, "text": "t"},
    "changed": lambda x: [y := x * 1, y.__setitem__(0, x.shape[0]), y.__iadd__(x.shape[1]), y][3],
    "compared": lambda x: (x > x.shape[0]) | (x == x.shape[1]) | (-x < ~x.astype(mx.int32)),
    "mean of rows": lambda x: x / mx.array([x.shape[0], x.shape[1]]).sum(),
}


@pytest.mark.parametrize("name", OF_SIZES)
def test_sizes_follow_the_arguments(name: str) -> None:
    agrees(OF_SIZES[name], *((normal(*shape),) for shape in SIZES))


TRANSFORMED: dict[str, Any] = {
    "grad": lambda x: mx.grad(lambda a: (mx.sin(a[1:]) * a[:1]).sum() / a.size)(x),
    "second order": lambda x: mx.grad(
        lambda b: mx.sum(mx.grad(lambda a: mx.sum(mx.sin(a) ** 2))(b) ** 2)
    )(x),
    "auxiliary": lambda x: mx.value_and_grad(lambda a: (mx.sum(a * a), mx.exp(a), a.shape[0]))(x)[
        0
    ],
    "jvp": lambda x: mx.jvp(lambda a: mx.cumsum(a * a, axis=0), [x], [x * 2]),
    "vjp": lambda x: mx.vjp(lambda a: mx.cumsum(a * a, axis=0), [x], [x * 2]),
    "vmap": lambda x: mx.vmap(lambda a: a / a.shape[0], in_axes=1, out_axes=-1)(x),
    "vmap of grad": lambda x: mx.vmap(mx.grad(lambda a: mx.sum(a**3) / a.size))(x),
    "grad of vmap": lambda x: mx.grad(
        lambda a: mx.vmap(lambda r, s: (r @ s).sum(), (0, None))(a, a.T).sum()
    )(x),
    "checkpoint": lambda x: mx.grad(
        lambda a: mx.checkpoint(lambda q, f=a * 2: mx.sin(q * f))(a).sum() * a.sum()
    )(x),
    "compile": lambda x: mx.compile(lambda a: a * a.shape[0])(x) + mx.compile(mx.sum)(x),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transforms_inside(name: str) -> None:
    agrees(TRANSFORMED[name], *((normal(*shape),) for shape in SIZES))


def test_a_gradient_through_a_broadcast_that_was_none() -> None:
    """Traced with equal sizes, a gradient sums over an axis that is stretched later."""
    f = mx.grad(lambda a, b: mx.sum(mx.sin(a * b)), argnums=(0, 1))
    shapes = [((1, 3), (1, 3)), ((4, 3), (1, 3)), ((1, 3), (4, 3)), ((2, 1), (2, 6))]
    agrees(f, *((normal(*a), normal(*b)) for a, b in shapes))


def test_custom_functions_keep_their_rules() -> None:
    @mx.custom_function
    def own(x: mx.array, k: mx.array) -> Any:
        return x * k, x.sum()

    @own.vjp
    def own_vjp(primals: Any, cotangents: Any, outputs: Any) -> Any:
        return cotangents[0] * 7 * primals[0].shape[0], mx.zeros_like(primals[1])

    agrees(mx.grad(lambda a: own(a, a)[0].sum() + own(a, a)[1]), *((normal(*s),) for s in SIZES))


def test_under_transforms() -> None:
    def f(x: mx.array) -> mx.array:
        return mx.sum(x.reshape(x.shape[0], -1) ** 3, axis=0) / x.shape[0]

    g, ran = counted(f)
    for shape in SIZES:
        x = normal(*shape)
        same(mx.grad(lambda a: g(a).sum())(x), mx.grad(lambda a: f(a).sum())(x))
        same(mx.jvp(g, [x], [x])[1], mx.jvp(f, [x], [x])[1])
        rows = normal(3, *shape)
        same(mx.vmap(g)(rows), mx.vmap(f)(rows))
        same(mx.compile(lambda a: g(a) + g(a + 1))(x), f(x) + f(x + 1))
    assert len(ran) == 1


def test_ranks_dtypes_and_constants_make_traces() -> None:
    g, ran = counted(lambda x, k=1: x * k)
    x = mx.ones((2, 3))
    for args in [(x,), (x[0],), (x.astype(mx.float16),), (x, 2), (x, 2.0), ([x][0], 1)]:
        g(*args)
    assert len(ran) == 6
    g(mx.ones((9, 9)), 2)
    assert len(ran) == 6


MODELS: dict[str, Any] = {
    "transformer": (
        lambda: nn.TransformerEncoder(2, 16, 2, 32),
        [(2, 5, 16), (1, 7, 16), (3, 1, 16)],
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.AvgPool2d(3, 1),
            nn.GroupNorm(2, 8),
        ),
        [(2, 8, 8, 3), (1, 12, 9, 3), (3, 7, 7, 3)],
    ),
    "upsampling": (
        lambda: nn.Sequential(nn.Upsample(2.0), nn.Upsample(1.5), nn.Upsample(0.5, "linear")),
        [(1, 4, 4, 2), (2, 6, 3, 2)],
    ),
    "recurrent": (lambda: nn.GRU(4, 6), [(2, 5, 4), (7, 5, 4)]),
    "embedding": (lambda: nn.RoPE(8), [(2, 5, 8), (1, 9, 8)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    make, shapes = MODELS[name]
    model = make()
    model.eval()
    mx.eval(model.parameters())
    run = (lambda x: model(x, None)) if name == "transformer" else model
    agrees(run, *((normal(*shape),) for shape in shapes))


def test_a_training_step_with_state() -> None:
    """Parameters, the optimizer's state and the random state, with batches of many sizes."""

    def losses(compiled: bool) -> tuple[list[float], int]:
        mx.random.seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        optimizer = optimizers.Adam(1e-2)
        optimizer.init(model.trainable_parameters())
        state = [model.state, optimizer.state, mx.random.state]
        ran: list[int] = []
        gradient = nn.value_and_grad(model, lambda x, y: mx.mean((model(x) - y) ** 2))

        def step(x: mx.array, y: mx.array) -> mx.array:
            ran.append(1)
            loss, gradients = gradient(x, y)
            optimizer.update(model, gradients)
            return loss

        run = partial(mx.compile, inputs=state, outputs=state, shapeless=True)(step)
        out = []
        for rows in (8, 3, 5, 8, 1):
            x = normal(rows, 4)
            out.append((run if compiled else step)(x, x.sum(axis=1, keepdims=True)).item())
        return out, len(ran)

    got, ran = losses(True)
    want, _ = losses(False)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert ran == 1


# --- what is refused -----------------------------------------------------------------------------


REFUSED: dict[str, tuple[Any, str]] = {
    "if": (
        lambda x: x if x.shape[0] > 2 else -x,
        r"the function decided by shape\[0\] of input 0 > 2, which was True; .* it is False",
    ),
    "range": (
        lambda x: sum(x[i] for i in range(x.shape[0])),
        r"took the value of shape\[0\] of input 0, 4; for these sizes it is 2",
    ),
    "int": (lambda x: x * int(x.size), r"took the value of size of input 0, 12; .* it is 6"),
    "rows": (lambda x: sum(x), r"decided by shape\[0\] of input 0 <= 2, which was False"),
    "length": (lambda x: x * len(x), r"took the value of shape\[0\] of input 0, 4"),
    "text": (lambda x: x if str(x.shape) == "(4, 3)" else -x, r"took the value of shape\[0\]"),
    "root": (
        lambda x: x / math.sqrt(x.shape[0] * 2),
        r"the value of mul\(shape\[0\] of input 0, 2",
    ),
    "key": (lambda x: {4: x}.get(x.shape[0], -x), r"took the value of shape\[0\] of input 0"),
    "NumPy": (lambda x: x[mx.array(np.arange(x.shape[0]))], r"took the value of shape\[0\]"),
    "equal": (lambda x: x if x.shape == (4, 3) else -x, r"shape\[0\] of input 0 == 4, which was"),
    "result": (
        lambda x: mx.exp(x) if mx.exp(x).shape[0] % 4 == 0 else x,
        r"decided by mod\(shape\[0\] of the result of exp, 4\) == 0, which was True",
    ),
    "axes": (
        lambda x: mx.squeeze(x[2:]),
        r"squeeze: gave float32 of 2 axes when .* traced, and gives float32 of 1 axes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_decided_is_a_condition(name: str) -> None:
    f, message = REFUSED[name]
    g, ran = counted(f)
    same(g(normal(4, 3)), f(normal(4, 3)))
    same(g(normal(4, 3, seed=1)), f(normal(4, 3, seed=1)))
    other = normal(3, 3) if name == "axes" else normal(2, 3)
    with pytest.raises(mx.TraceError, match=message):
        g(other)
    same(g(normal(4, 3)), f(normal(4, 3)))
    assert len(ran) == 1


def test_conditions_that_still_hold_refuse_nothing() -> None:
    def f(x: mx.array, w: mx.array) -> mx.array:
        if x.ndim != 2 or x.shape[1] != w.shape[0]:
            raise ValueError("no")
        heads = 1 if x.shape[0] < 2 else 2
        return (x @ w) * heads * math.sqrt(w.shape[1])

    agrees(f, *((normal(rows, 3), normal(3, 4)) for rows in (4, 2, 9)))


def test_evaluating_inside_is_an_error() -> None:
    for evaluates in (lambda x: x if x.sum() > 0 else -x, mx.eval, str, lambda x: x[x > 0]):
        with pytest.raises(mx.TraceError, match="an input of a function that vmap or compile"):
            mx.compile(evaluates, shapeless=True)(mx.ones((2,)))
    # Nothing of a trace that failed goes on listening.
    assert (mx.ones((2,)) * 3).shape == (2,) and type(mx.ones((2,)).shape[0]) is int


def test_numbers_behave_as_ints_and_floats() -> None:
    seen: list[Any] = []

    def f(x: mx.array) -> mx.array:
        n, half = x.shape[0], x.shape[0] / 8
        seen.append((isinstance(n, int), isinstance(half, float), isinstance(n, float)))
        seen.append((n + 1, 2 * n, n // 3, n % 3, -n, abs(-n), n**2, 2**n, n - 1.5, divmod(n, 3)))
        seen.append((n & 3, n | 3, n ^ 3, n << 1, n >> 1, ~n, 9 - n, 9 // n, 9 % n, 9 / n))
        seen.append((math.floor(half), math.ceil(half), round(half, 1), math.trunc(half)))
        seen.append((n == 4, n != 4, n < 5, n <= 4, n > 5, n >= 4, bool(n), n == "4", n in (1, 4)))
        seen.append(
            ([7] * n, "ab" * n, f"{n:03}", hash(n), n.bit_length(), complex(n), [n][0] is n)
        )
        return x

    mx.compile(f, shapeless=True)(mx.ones((4,)))
    n, half = 4, 0.5
    assert seen == [
        (True, True, False),
        (n + 1, 2 * n, n // 3, n % 3, -n, abs(-n), n**2, 2**n, n - 1.5, divmod(n, 3)),
        (n & 3, n | 3, n ^ 3, n << 1, n >> 1, ~n, 9 - n, 9 // n, 9 % n, 9 / n),
        (math.floor(half), math.ceil(half), round(half, 1), math.trunc(half)),
        (True, False, True, True, False, True, True, False, True),
        ([7] * 4, "ab" * 4, "004", hash(4), 3, 4 + 0j, True),
    ]


def test_numbers_beside_numbers_of_other_kinds() -> None:
    seen: list[Any] = []

    def f(x: mx.array) -> mx.array:
        n = x.shape[0]
        seen.append((n == Decimal(4), n * Fraction(1, 2), n * np.float32(2), n + np.int64(1)))
        seen.append(((np.ones(2) * n).tolist(), (n * np.ones(2)).tolist(), n * 1j, n == 1j))
        seen.append((n * (1,), [1] * n, n + True, np.zeros(n).shape, max(n, 2), sum([n, n])))
        return x

    mx.compile(f, shapeless=True)(mx.ones((4,)))
    assert seen == [
        (True, Fraction(2), 8, 5),
        ([4, 4], [4, 4], 4j, False),
        ((1,) * 4, [1] * 4, 5, (4,), 4, 8),
    ]


def test_numbers_kept_from_a_trace_go_on_as_numbers() -> None:
    kept: list[Any] = []

    def f(x: mx.array) -> mx.array:
        kept.extend([x.shape[0], x.shape[0] / 8])
        return x

    mx.compile(f, shapeless=True)(mx.ones((4,)))
    n, half = kept[:2]
    x = mx.ones((2,))
    assert mx.zeros((n, 2)).shape == (4, 2) and mx.arange(6)[:n].shape == (4,)
    assert (x * n).tolist() == (n * x).tolist() == [4, 4] and (x * half).dtype == mx.float32
    assert mx.array([n, 1]).dtype == mx.int32 and mx.array(half).item() == 0.5
    assert mx.repeat(x, n).size == 8 and mx.full((2,), n).tolist() == [4, 4]
    assert type(n + 1) is int and type(half * 2) is float


# --- what it keeps -------------------------------------------------------------------------------


def test_captured_arrays_keep_their_values() -> None:
    kept = mx.array([1.0, 2.0, 3.0])
    g, _ = counted(lambda x: x + kept)
    assert g(mx.zeros((2, 3))).tolist() == [[1, 2, 3]] * 2
    kept += 5
    assert g(mx.zeros((1, 3))).tolist() == [[1, 2, 3]]


def test_arrays_of_a_transform_around_are_not_kept() -> None:
    box: list[mx.array] = []
    g, ran = counted(lambda x: x * box[0])

    def loss(w: mx.array) -> mx.array:
        box[:] = [w * 2]
        return mx.sum(g(mx.array([1.0, 2.0])))

    for w in (1.0, 5.0):
        value, slope = mx.value_and_grad(loss)(mx.array(w))
        assert (value.item(), slope.item()) == (6 * w, 6)
    assert len(ran) == 2


def test_random_state() -> None:
    def f(x: mx.array) -> mx.array:
        return x + mx.random.uniform(shape=x.shape)

    g = mx.compile(f, inputs=mx.random.state, outputs=mx.random.state, shapeless=True)
    mx.random.seed(5)
    want = [to_numpy(f(mx.zeros(s))) for s in SIZES]
    mx.random.seed(5)
    for shape, numbers in zip(SIZES, want, strict=True):
        check(g(mx.zeros(shape)), numbers)
    assert g._traces.traced == 1


def test_devices_inside_are_kept() -> None:
    def f(x: mx.array) -> mx.array:
        with mx.stream(mx.cpu):
            return mx.exp(x) + mx.zeros(x.shape, stream=mx.cpu)

    agrees(f, *((normal(*shape),) for shape in SIZES))


def test_many_sizes_and_threads() -> None:
    g, ran = counted(lambda x: mx.sum(x.reshape(-1, x.shape[0]) * 2) / x.shape[0])

    def work(seed: int) -> bool:
        return all(g(mx.full((n,), seed)).item() == 2 * seed for n in range(1, 40))

    assert work(1)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    assert len(ran) == 1


def test_another_thread_is_not_listened_to() -> None:
    """While one thread traces, what another computes is ordinary."""

    def f(x: mx.array) -> mx.array:
        with ThreadPoolExecutor(1) as pool:
            shape = pool.submit(lambda: (mx.ones((3,)) * 2).shape).result()
        assert type(shape[0]) is int
        return x * shape[0]

    agrees(f, *((normal(*shape),) for shape in SIZES))


def test_a_compiled_method_dies_with_its_object() -> None:
    class Holder:
        def __init__(self) -> None:
            self.w = mx.ones((2,))
            self.step = mx.compile(self.run, shapeless=True)

        def run(self, x: mx.array) -> mx.array:
            return x * self.w

    holder = Holder()
    holder.step(mx.ones((3, 2)))
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_disabled_it_runs_the_function() -> None:
    g, ran = counted(lambda x: x + x.shape[0])
    try:
        mx.disable_compile()
        g(mx.array([1])), g(mx.array([1, 2]))
        assert len(ran) == 2
    finally:
        mx.enable_compile()
