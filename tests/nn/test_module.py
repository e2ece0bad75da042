"""Module: what belongs to the tree, walking, freezing, updating, weights, gradients, scopes."""

from __future__ import annotations

import copy
import inspect
import pickle

import lamina.core as mx
import lamina.nn.scopes as scopes
import mlx.core as omx
import mlx.nn as onn
import numpy as np
import pytest
from lamina import _categories, nn
from lamina.utils import tree_flatten, tree_map
from mlx.utils import tree_flatten as other_flatten
from oracle import close, to_numpy


def build(lib, core):
    """The same module of either library, with members of every kind."""

    class M(lib.Module):
        def __init__(self):
            super().__init__()
            self.l = lib.Linear(2, 3)
            self.lst = [lib.Linear(2, 2), core.zeros((2,)), 3, "x"]
            self.d = {"p": lib.ReLU(), "q": core.ones((1,))}
            self.w = core.array(1.0)
            self._h = core.ones((3,))
            self._m = lib.Linear(1, 1)
            self.n = 4
            self.tup = (1, lib.Linear(1, 1))
            self.sub = {"deep": [{"l": lib.Linear(1, 2)}]}
            self.bn = lib.BatchNorm(2)

        def __call__(self, x):
            return self.l(x)

    return M()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU())]
        self.out = nn.Linear(2, 1)

    def __call__(self, x, shift=0.0):
        for layer in self.layers:
            x = layer(x)
        return self.out(x) + shift


@pytest.fixture
def pair():
    return build(nn, mx), build(onn, omx)


def shape_tree(tree, array):
    if isinstance(tree, array):
        return tuple(tree.shape)
    if isinstance(tree, dict):
        return {k: shape_tree(v, array) for k, v in tree.items()}
    return [shape_tree(v, array) for v in tree] if isinstance(tree, list) else tree


def test_tree_as_mlx(pair):
    mine, other = pair
    assert list(mine.keys()) == list(other.keys())
    assert set(vars(mine)) == set(vars(other))
    for method in ("parameters", "trainable_parameters"):
        a, b = getattr(mine, method)(), getattr(other, method)()
        assert shape_tree(a, mx.array) == shape_tree(b, omx.array)
    for method in ("children", "leaf_modules"):
        assert repr(getattr(mine, method)()) == repr(getattr(other, method)())
    assert [n for n, _ in mine.named_modules()] == [n for n, _ in other.named_modules()]
    names = [type(m).__name__ for m in mine.modules()]
    assert names == [type(m).__name__ for m in other.modules()]
    assert repr(mine) == repr(other)
    assert mine.state is mine


@pytest.mark.parametrize(
    "steps",
    [
        [("freeze", {})],
        [("freeze", {}), ("unfreeze", {"recurse": False})],
        [("freeze", {"keys": "bias"})],
        [("freeze", {}), ("unfreeze", {"keys": ["weight", "w"]})],
        [("freeze", {"recurse": False})],
    ],
)
def test_freeze_as_mlx(pair, steps):
    for module in pair:
        for method, kwargs in steps:
            assert getattr(module, method)(**kwargs) is module
    mine, other = (
        dict(flat)
        for flat in (
            tree_flatten(pair[0].trainable_parameters()),
            other_flatten(pair[1].trainable_parameters()),
        )
    )
    assert mine.keys() == other.keys()


def test_freeze_strict_names_the_key():
    with pytest.raises(KeyError, match="Linear: no member named 'nope'"):
        nn.Linear(2, 2).freeze(keys=["weight", "nope"], strict=True)
    with pytest.raises(KeyError, match="ReLU: no member named 'bias'"):
        nn.Sequential(nn.ReLU()).layers[0].unfreeze(keys="bias", strict=True)


def test_train_and_eval():
    model = Net()
    assert model.training
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())
    assert model.train(False).training is False


def test_attributes_move_between_dict_and_instance():
    m = nn.Module()
    m.x = mx.ones((1,))
    assert "x" in m
    m.x = 3
    assert "x" not in m
    assert m.x == 3
    m.x = mx.ones((1,))
    assert isinstance(m.x, mx.array)
    assert "x" not in vars(m)
    del m.x
    assert not hasattr(m, "x")


def test_missing_attribute_names_class_and_near_matches():
    with pytest.raises(AttributeError, match=r"'Linear' object has no attribute 'wieght'.*weight"):
        nn.Linear(2, 2).wieght  # noqa: B018
    with pytest.raises(AttributeError, match=r"'Linear' object has no attribute 'zzz'$"):
        nn.Linear(2, 2).zzz  # noqa: B018
    with pytest.raises(AttributeError):
        del nn.Linear(2, 2).zzz


def test_forgotten_super_init():
    class Bad(nn.Module):
        def __init__(self):
            self.w = mx.ones((1,))

    with pytest.raises(AttributeError, match=r"Bad: not initialised, call super\(\).__init__"):
        Bad().trainable_parameters()


def test_update_replaces_parts(pair):
    module = pair[0]
    new = {"l": {"bias": mx.ones((3,))}, "lst": [{}, mx.ones((7,))], "d": {"q": mx.zeros((9,))}}
    assert module.update(new) is module
    close(module.l.bias, np.ones(3, np.float32))
    assert tuple(module.lst[1].shape) == (7,)
    assert tuple(module.d["q"].shape) == (9,)
    module.update(module.parameters())
    module.freeze()
    module.update(module.trainable_parameters())


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"zz": 0}, "M: no parameter named 'zz'"),
        ({"l": {"wieght": 0}}, "M: no parameter named 'l.wieght'; near matches: weight"),
        ({"w": 3}, "M: expected an array for 'w', got int"),
        ({"w": {"a": 3}}, "M: expected an array for 'w', got dict"),
        ({"l": 3}, "M: expected a dict or list at 'l', got int"),
        ({"tup": 3}, "M: no parameter but a tuple at 'tup', got int"),
        ({"n": 3}, "M: no parameter named 'n'"),
        ({"lst": [{}, {}, {}, {}, 1]}, "M: no parameter named 'lst.4'"),
        ({"lst": {"0": 1}}, "M: no parameter named 'lst.0'"),
        (5, "M: expected a dict or list at 'the root', got int"),
    ],
)
def test_update_names_what_is_wrong(pair, tree, message):
    with pytest.raises(ValueError, match=message):
        pair[0].update(tree)


def test_update_not_strict(pair):
    module = pair[0]
    module.update({"zz": mx.ones((1,)), "l": {"q": 1, "bias": mx.zeros((3,))}}, strict=False)
    assert "zz" not in module
    close(module.l.bias, np.zeros(3, np.float32))


def test_dicts_with_index_names():
    m = nn.Module()
    m.blocks = {"0": nn.Linear(1, 1), "1": nn.Linear(1, 1)}
    m.load_weights([(k, mx.zeros(v.shape)) for k, v in tree_flatten(m.parameters())])
    close(m.blocks["1"].weight, np.zeros((1, 1), np.float32))


def test_update_modules(pair):
    module = pair[0]
    module.update_modules({"l": nn.Linear(7, 7), "lst": [nn.ReLU()], "d": {"p": nn.Tanh()}})
    assert tuple(module.l.weight.shape) == (7, 7)
    assert isinstance(module.lst[0], nn.ReLU)
    assert isinstance(module.d["p"], nn.Tanh)
    module.update_modules(module.leaf_modules())
    for tree, message in [
        ({"zz": nn.ReLU()}, "M: no sub-module named 'zz'"),
        ({"w": nn.ReLU()}, "M: no module but an array at 'w', got ReLU"),
        ({"l": 3}, "M: expected a dict or list at 'l', got int"),
    ]:
        with pytest.raises(ValueError, match=message):
            module.update_modules(tree)
    module.update_modules({"zz": nn.ReLU()}, strict=False)
    assert "zz" not in module


def test_apply_and_set_dtype(pair):
    module = pair[0]
    module.apply(lambda p: p + 1)
    close(module.w, np.array(2.0, np.float32))
    close(module._h, np.ones(3, np.float32))
    module.ids = mx.arange(3)
    module.set_dtype(mx.float16)
    dtypes = {k: v.dtype for k, v in tree_flatten(module.parameters())}
    assert dtypes.pop("ids") == mx.arange(3).dtype
    assert set(map(str, dtypes.values())) == {str(mx.float16)}
    module.set_dtype(mx.float32, None)
    assert module.ids.dtype == mx.float32


def test_filter_and_map(pair):
    biases = pair[0].filter_and_map(
        lambda m, k, v: (
            nn.Module.valid_parameter_filter(m, k, v)
            and (isinstance(v, (dict, list)) or k == "bias")
        ),
        lambda v: tuple(v.shape),
    )
    assert biases["l"] == {"bias": (3,)}
    assert biases["lst"] == [{"bias": (2,)}, {}, {}, {}]
    assert "w" not in biases
    with pytest.raises(RuntimeError, match=r"'l' is a Linear|'tup' is a tuple"):
        pair[0].filter_and_map(
            lambda m, k, v: True, is_leaf_fn=lambda m, k, v: not isinstance(v, (dict, list, tuple))
        )


def test_apply_to_modules_visits_all():
    seen = {}
    model = Net()
    assert model.apply_to_modules(lambda name, m: seen.setdefault(name, type(m).__name__)) is model
    assert seen == {
        "": "Net",
        "layers.0": "Linear",
        "layers.1": "Sequential",
        "layers.1.layers.0": "Linear",
        "layers.1.layers.1": "ReLU",
        "out": "Linear",
    }


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_weights_round_trip(tmp_path, ending):
    first, second = Net(), Net()
    path = str(tmp_path / f"weights.{ending}")
    first.save_weights(path)
    assert second.load_weights(path) is second
    for (name, a), (_, b) in zip(
        tree_flatten(first.parameters()), tree_flatten(second.parameters()), strict=True
    ):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b), err_msg=name)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_bfloat16_weights(tmp_path, ending):
    model = nn.Linear(2, 3)
    model.set_dtype(mx.bfloat16)
    path = str(tmp_path / f"weights.{ending}")
    model.save_weights(path)
    other = nn.Linear(2, 3).load_weights(path)
    assert other.weight.dtype == mx.bfloat16
    np.testing.assert_array_equal(to_numpy(other.weight), to_numpy(model.weight))


def test_weights_problems_are_listed(tmp_path):
    model = Net()
    good = tree_flatten(model.parameters())
    with pytest.raises(ValueError, match=r"missing 2 parameters: layers.0.bias, layers.0.weight"):
        model.load_weights(good[2:])
    wrong = [*good[1:], ("aa", mx.ones((1,))), ("zz.q", mx.ones((1,)))]
    wrong[0] = (wrong[0][0], mx.ones((5,)))
    with pytest.raises(ValueError) as error:
        model.load_weights(wrong)
    text = str(error.value)
    assert text.startswith("Net: load_weights: missing 1 parameters: layers.0.weight\n")
    assert "unexpected 2 parameters: aa, zz.q" in text
    assert "layers.0.bias expected (2,), got (5,)" in text
    with pytest.raises(ValueError, match=r"out.bias expected an array, got int"):
        model.load_weights([*good[:-1], ("out.bias", 3)])
    with pytest.raises(ValueError, match=r"expected a .npz or .safetensors file"):
        model.save_weights(str(tmp_path / "weights.bin"))


def test_weights_not_strict():
    model = Net()
    model.load_weights([("out.bias", mx.array([7.0])), ("zz", mx.ones((1,)))], strict=False)
    close(model.out.bias, np.array([7.0], np.float32))


def test_value_and_grad():
    model = nn.Linear(2, 2)
    before = model.weight

    def loss(x, *, k):
        return mx.sum(model(x)) * k, 3, {"a": x}

    x = mx.ones((1, 2))
    (value, three, extra), grads = nn.value_and_grad(model, loss)(x, k=2)
    assert three == 3
    close(extra["a"], np.ones((1, 2), np.float32))
    close(value, 2 * np.sum(to_numpy(model(x)), dtype=np.float32))
    close(grads["weight"], np.full((2, 2), 2, np.float32))
    assert model.weight is before, "the model keeps its own arrays"
    model.freeze(keys="bias")
    assert set(nn.value_and_grad(model, loss)(x, k=1)[1]) == {"weight"}
    model.freeze()
    with pytest.raises(ValueError, match="value_and_grad: Linear has no trainable parameters"):
        nn.value_and_grad(model, loss)(x, k=1)


def test_value_and_grad_leaves_the_model_alone_on_errors():
    model = nn.Linear(2, 2)
    before = model.weight

    def loss():
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        nn.value_and_grad(model, loss)()
    assert model.weight is before


def test_checkpoint_gives_the_same_gradients():
    model, x = Net(), mx.ones((3, 2))
    plain = nn.value_and_grad(model, lambda: mx.sum(mx.square(model(x))))()
    for call in (nn.utils.checkpoint(model), nn.utils.checkpoint(model, lambda y: model(y))):
        value, grads = nn.value_and_grad(model, lambda call=call: mx.sum(mx.square(call(x))))()
        close(value, plain[0])
        tree_map(close, grads, plain[1])


def test_copies_are_apart():
    model = Net()
    twin = copy.deepcopy(model)
    twin.out.bias = mx.array([9.0])
    assert float(model.out.bias.item()) != 9.0
    assert [n for n, _ in twin.named_modules()] == [n for n, _ in model.named_modules()]
    bare = pickle.loads(pickle.dumps(nn.Sequential(nn.ReLU(), nn.Dropout(0.5))))
    assert len(bare.layers) == 2
    assert bare.layers[1].training


# What the engine is told.


@pytest.fixture
def tagged(monkeypatch):
    tags = []
    monkeypatch.setattr(_categories, "_set_category", lambda a, c: tags.append((id(a), c)))
    return tags


def test_categories(tagged):
    from lamina import optimizers

    model = nn.Linear(2, 2)
    assert (id(model.weight), _categories.PARAMETER) in tagged
    _, grads = nn.value_and_grad(model, lambda: mx.sum(model(mx.ones((1, 2)))))()
    assert (id(grads["bias"]), _categories.GRADIENT) in tagged
    optimizer = optimizers.Adam(0.1)
    optimizer.update(model, grads)
    assert (id(model.bias), _categories.PARAMETER) in tagged
    assert (id(optimizer.state["weight"]["v"]), _categories.OPTIMIZER_STATE) in tagged


class Recorder:
    """Stands in for the engine's scope stack, and for its switch."""

    def __init__(self):
        self.on, self.stack, self.seen = True, [], []

    def push(self, path):
        self.stack.append(path)
        self.seen.append(path)

    def pop(self):
        self.stack.pop()


@pytest.fixture
def recorder(monkeypatch):
    spy = Recorder()
    monkeypatch.setattr(scopes, "_module_scope_push", spy.push)
    monkeypatch.setattr(scopes, "_module_scope_pop", spy.pop)
    # Wrappers bind the switch when a class is made, so the scope's own function is driven.
    monkeypatch.setattr(scopes, "_trace_enabled", lambda: spy.on)
    return spy


def traced_classes():
    """Modules made while the switch is a Python function that the test controls."""

    class Leaf(nn.Module):
        def __call__(self, x, /, y=1, *rest, k=2, **more):
            if k == "fail":
                raise RuntimeError("stop")
            return x + y + sum(rest) + (0 if k == 2 else k) + len(more)

    class Derived(Leaf):
        def __call__(self, x):
            return super().__call__(x) + 1

    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [Leaf(), {"attn": Derived()}]
            self.hidden = (Leaf(),)

        def __call__(self, x, **kwargs):
            x = self.blocks[0](x, **kwargs)
            x = self.blocks[1]["attn"](x)
            return self.hidden[0](x)

    return Leaf, Tree


def test_scopes_follow_the_modules(recorder):
    _, Tree = traced_classes()
    tree = Tree()
    assert tree(1) == 5
    assert recorder.seen == ["", "blocks.0", "blocks.1.attn", "Leaf"]
    assert recorder.stack == []
    recorder.on = False
    assert tree(1) == 5
    assert len(recorder.seen) == 4


def test_scopes_notice_a_changed_structure(recorder):
    Leaf, Tree = traced_classes()
    tree = Tree()
    tree(1)
    first, second = tree.blocks[0], Leaf()
    tree.blocks.append(first)
    tree.blocks[0] = second
    recorder.seen.clear()
    tree(1)
    assert recorder.seen[:2] == ["", "blocks.0"]
    recorder.seen.clear()
    tree.blocks[0] = first
    tree(1)
    assert recorder.seen[1] in ("blocks.0", "blocks.2")


def test_paths_are_walked_once(recorder, monkeypatch):
    _, Tree = traced_classes()
    tree, walks = Tree(), []
    tree.hidden = (nn.Identity(),)
    walk = nn.Module.named_modules
    monkeypatch.setattr(nn.Module, "named_modules", lambda self: walks.append(self) or walk(self))
    for _ in range(3):
        tree(1)
    assert len(walks) == 1


def test_scopes_close_on_errors(recorder):
    _, Tree = traced_classes()
    with pytest.raises(RuntimeError, match="stop"):
        Tree()(1, k="fail")
    assert recorder.stack == []
    assert scopes._scopes.calls == []


def test_wrapped_calls_keep_their_parameters(recorder):
    Leaf, _ = traced_classes()
    signature = "(self, x, /, y=1, *rest, k=2, **more)"
    assert str(inspect.signature(Leaf.__call__)) == signature
    assert Leaf.__call__.__name__ == "__call__"
    for recorder.on in (True, False):
        assert Leaf()(1) == 2
        assert Leaf()(1, 2, 3, k=4, z=5) == 11
        with pytest.raises(TypeError):
            Leaf()(x=1)
    assert str(inspect.signature(nn.Linear.__call__)).startswith("(self, x: 'mx.array')")


def test_wrappers_count_as_the_package_in_stacks():
    code = nn.Linear.__call__.__code__
    assert code.co_filename.startswith(scopes.__file__)
    assert nn.Linear.__call__.__globals__["__name__"] == scopes.__name__
