"""A function as the calls it made, which can be made again for arrays of other sizes.

A node of the graph holds sizes, and so does what a derivative rule builds; from which input a size
came is no longer to be seen there. So a trace without sizes keeps what the function asked for: each
call of the interface with its arguments, where arrays and the numbers read off their shapes are
slots, and each transform with the calls of the function it was given. Making the calls again builds
what the function would build. Where the function took a number's value, or decided by it, the trace
has a condition (`_sizes`); a call for which one does not hold raises TraceError.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any

from lamina import _arguments
from lamina import _core as _c
from lamina._core import array
from lamina._sizes import COMPARISONS, OPERATIONS, Number, Real, Whole, number, plain

__all__ = ["Calls"]

_Arrays = list[array]
_Spec = tuple[Any, ...]
_Env = dict[int, Any]
_ids = itertools.count()

# --- values --------------------------------------------------------------------------------------


_Maker = Callable[[_Env], Any]


def maker(spec: _Spec) -> _Maker:
    """A function from the slots' values to what a specification stands for."""
    kind = spec[0]
    if kind == "slot":
        return operator.itemgetter(spec[1])
    if kind in ("value", "array"):
        value = spec[1]
        return lambda env: value
    if kind == "dict":
        named = [(k, maker(s)) for k, s in spec[1].items()]
        return lambda env: {k: make(env) for k, make in named}
    makers = [maker(s) for s in (spec[2] if kind == "op" else spec[1])]
    if kind == "op":
        function = OPERATIONS[spec[1]]
        return lambda env: function(*[make(env) for make in makers])
    if kind == "list":
        return lambda env: [make(env) for make in makers]
    if kind == "slice":
        return lambda env: slice(*[make(env) for make in makers])
    if spec[2] is tuple:
        return lambda env: tuple([make(env) for make in makers])
    return lambda env: spec[2](*[make(env) for make in makers])


def made(spec: _Spec, env: _Env) -> Any:
    return maker(spec)(env)


def slots_of(spec: _Spec) -> Iterator[int]:
    """The slots that a specification reads."""
    if spec[0] == "slot":
        yield spec[1]
    elif spec[0] in ("op", "list", "tuple", "slice"):
        for inner in spec[2] if spec[0] == "op" else spec[1]:
            yield from slots_of(inner)
    elif spec[0] == "dict":
        for inner in spec[1].values():
            yield from slots_of(inner)


def is_leaf(value: Any) -> bool:
    return isinstance(value, (array, int, float)) and not isinstance(value, bool)


def leaves_of(tree: Any) -> list[Any]:
    """Arrays and numbers of what a call gave."""
    if is_leaf(tree):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return []
    return [leaf for item in tree for leaf in leaves_of(item)]


def mapped(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """The tree with other leaves."""
    if is_leaf(tree):
        return leaf(tree)
    if isinstance(tree, dict):
        return {k: mapped(v, leaf) for k, v in tree.items()}
    if not isinstance(tree, (list, tuple)):
        return tree
    items = [mapped(item, leaf) for item in tree]
    return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)


def kind_of(leaf: Any) -> tuple[str, int]:
    """What is the same of a slot for all sizes."""
    if isinstance(leaf, array):
        return _c._dtype_name(leaf.dtype), leaf.ndim
    return ("float" if isinstance(leaf, float) else "int"), 0


def _spelled(kind: tuple[str, int]) -> str:
    return f"{kind[0]} of {kind[1]} axes" if kind[0] not in ("int", "float") else kind[0]


# --- steps ---------------------------------------------------------------------------------------


class Call:
    """One call; its results fill slots from `first` on."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[_Spec, dict[str, _Spec]],
        first: int,
        kinds: list[tuple[str, int]],
        here: tuple[int, int],
    ) -> None:
        self.name, self.function, self.first, self.kinds = name, function, first, kinds
        self.positional, self.keywords = arguments
        self.device, self.origin = here
        self._arguments = maker(self.positional)
        self._keywords = maker(("dict", self.keywords)) if self.keywords else None
        # Most calls give one array: its kind as the core has it, once there was one.
        self._one: int | None = None

    def writes(self) -> Iterator[int]:
        yield from range(self.first, self.first + len(self.kinds))

    def result(self, env: _Env) -> Any:
        arguments = self._arguments(env)
        keywords = self._keywords(env) if self._keywords else {}
        if self.device < 0 and not self.origin:
            return self.function(*arguments, **keywords)
        return _c._call_again(self.function, arguments, keywords, self.device, self.origin)

    def run(self, env: _Env) -> None:
        out = self.result(env)
        if self._one is not None and type(out) is array and _c._array_kind(out) == self._one:
            env[self.first] = out
            return
        leaves = leaves_of(out)
        kinds = [kind_of(leaf) for leaf in leaves]
        if kinds != self.kinds:
            traced, now = (", ".join(map(_spelled, k)) for k in (self.kinds, kinds))
            raise _c.TraceError(
                f"{short(self.name)}: gave {traced} when the function was traced, and gives {now} "
                "for these sizes\nTrace it for them: without shapeless=True, or as another function"
            )
        env.update(enumerate(leaves, self.first))
        self._one = _c._array_kind(out) if type(out) is array else None


class Answer(Call):
    """A call whose result, a bool, the function may have decided by."""

    expected = False

    def run(self, env: _Env) -> None:
        now = self.result(env)
        if now != self.expected:
            raise refusal(f"{short(self.name)} gave {self.expected}", f"it gives {now}")


class Condition:
    """A number that has to be what it was, or to compare as it did."""

    def __init__(self, name: str, sides: list[_Spec], result: Any, text: str) -> None:
        self.name, self.sides, self.result, self.text = name, sides, result, text
        self._makers = [maker(s) for s in sides]

    def writes(self) -> Iterator[int]:
        return iter(())

    def run(self, env: _Env) -> None:
        values = [make(env) for make in self._makers]
        if self.name == "value":
            if values[0] != self.result:
                raise refusal(f"took the value of {self.text}, {self.result}", f"it is {values[0]}")
        elif bool(COMPARISONS[self.name](*values)) != self.result:
            raise refusal(
                f"decided by {self.text}, which was {self.result}", f"it is {not self.result}"
            )


def refusal(did: str, now: str) -> Exception:
    error: Exception = _c.TraceError(
        f"shapeless: while it was traced the function {did}; for these sizes {now}\n"
        "Pass the number on to operations instead, or compile it without shapeless=True"
    )
    return error


class Transform:
    """A transform of a function that is kept as its calls."""

    def __init__(
        self,
        kind: str,
        body: list[Any],
        inputs: list[int],
        outputs: list[_Spec],
        given: list[_Spec],
        first: int,
        kinds: list[tuple[str, int]],
        **rest: Any,
    ) -> None:
        self.kind, self.body, self.inputs, self.outputs = kind, body, inputs, outputs
        self.given, self.first, self.kinds, self.rest = given, first, kinds, rest

    def writes(self) -> Iterator[int]:
        yield from self.inputs
        for step in self.body:
            yield from step.writes()
        yield from range(self.first, self.first + len(self.kinds))

    def function(self, env: _Env) -> Callable[..., _Arrays]:
        def body(*leaves: array) -> _Arrays:
            env.update(zip(self.inputs, leaves, strict=True))
            run(self.body, env)
            return [made(spec, env) for spec in self.outputs]

        return body

    def run(self, env: _Env) -> None:
        results = getattr(self, f"_{self.kind}")(env, [made(s, env) for s in self.given])
        env.update(enumerate(results, self.first))

    def _others(self, env: _Env) -> _Arrays:
        return [made(s, env) for s in self.rest["others"]]

    def _vjp(self, env: _Env, given: _Arrays) -> _Arrays:
        out: _Arrays = _c.vjp(self.function(env), given, self._others(env))[1]
        return out

    def _jvp(self, env: _Env, given: _Arrays) -> _Arrays:
        out: _Arrays = _c.jvp(self.function(env), given, self._others(env))[1]
        return out

    def _vmap(self, env: _Env, given: _Arrays) -> _Arrays:
        axes, to = tuple(self.rest["in_axes"]), list(self.rest["out_axes"])
        out: _Arrays = _c.vmap(self.function(env), axes, to)(*given)
        return out

    def _checkpoint(self, env: _Env, given: _Arrays) -> _Arrays:
        first = [env]

        def body(*leaves: array) -> _Arrays:
            # Its backward pass may run it again, for slots of its own.
            return self.function(first.pop() if first else dict(env))(*leaves)

        out: _Arrays = _c.checkpoint(body)(*given)
        return out

    def _inline(self, env: _Env, given: _Arrays) -> _Arrays:
        return self.function(env)(*given)

    def _custom(self, env: _Env, given: _Arrays) -> _Arrays:
        def body(*args: Any) -> Any:
            return self.function(env)(*(x for x in leaves_of(args) if isinstance(x, array)))

        arguments = made(self.rest["arguments"], env)
        out: _Arrays = self.rest["rules"]._with(body)(*arguments)
        return out


def run(steps: list[Any], env: _Env) -> None:
    for step in steps:
        step.run(env)


# --- names ---------------------------------------------------------------------------------------


def short(name: str) -> str:
    """A call as the program spells it."""
    return name.rpartition(".")[2].lstrip("_")


# Operators of arrays, as the compiled module tells of them.
OPERATORS = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"),
    *("lshift", "rshift", "neg", "abs", "invert", "lt", "le", "eq", "ne", "gt", "ge", "getitem"),
    *("with_item", "array"),
)


def operator_named(name: str) -> Callable[..., Any]:
    own: dict[str, Any] = {"array": array, "with_item": _c._with_item}
    found: Callable[..., Any] = own[name] if name in own else getattr(operator, name)
    return found


# --- the trace -----------------------------------------------------------------------------------


class Calls:
    """The calls of one function; while it is traced, the watcher that is told of them."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.kinds: list[tuple[str, int]] = []  # of the inputs
        self.results: list[_Spec] = []
        self.closed = True  # it uses nothing that belongs to a transform around it
        self.listening = False
        self._id = next(_ids)
        self._next = 0
        self._into = self.steps
        self._labels: dict[int, str] = {}
        self._held: set[Any] = set()  # conditions made already
        self._before: Any = None
        self._device = -1

    # --- as the core uses it ---------------------------------------------------------------------

    def open(self, arrays: _Arrays) -> _Arrays:
        """Start listening on this thread: stand-ins for the inputs."""
        self.kinds = [kind_of(x) for x in arrays]
        stand_ins = [self._new(x, f"input {i}") for i, x in enumerate(arrays)]
        self._device = _c._here()[0]
        _c._watch_begin()
        self._before = _c._listen(self)
        self.listening = True
        _arguments.traces.append(self)
        return stand_ins

    def stop(self) -> None:
        """Stop listening; twice does no harm."""
        if self.listening:
            self.listening = False
            _arguments.traces.remove(self)
            _c._listen(self._before)
            _c._watch_end()

    def close(self, results: _Arrays) -> None:
        """Say which arrays the function gave."""
        self.results = [self._spec(x) for x in results]
        self.stop()

    def __call__(self, inputs: _Arrays, returned: Any = None) -> tuple[_Arrays, Any]:
        """The results for inputs of other sizes, and `returned` with its numbers for them."""
        env: _Env = dict(enumerate(inputs))
        run(self.steps, env)
        results = [made(spec, env) for spec in self.results]
        return results, self._resolved(returned, env)

    def _resolved(self, tree: Any, env: _Env) -> Any:
        if type(tree) in (Whole, Real):
            return made(tree.spec, env)
        if isinstance(tree, dict):
            return {k: self._resolved(v, env) for k, v in tree.items()}
        if not isinstance(tree, (list, tuple)):
            return tree
        items = [self._resolved(v, env) for v in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)

    # --- slots and specifications ----------------------------------------------------------------

    def _new(self, like: array, label: str) -> array:
        self._labels[self._next] = label
        self._next += 1
        out: array = _c._stand_in(like, self._id, self._next - 1)
        return out

    def _spec(self, value: Any) -> _Spec:
        if isinstance(value, array):
            return self._array(value)
        if type(value) in (Whole, Real):
            own: _Spec = value.spec if value.trace is self else ("value", value.value)
            return own
        if isinstance(value, (list, tuple)):
            items = tuple(self._spec(v) for v in value)
            return ("list", items) if isinstance(value, list) else ("tuple", items, type(value))
        if isinstance(value, dict):
            return "dict", {k: self._spec(v) for k, v in value.items()}
        if isinstance(value, slice):
            return "slice", tuple(self._spec(v) for v in (value.start, value.stop, value.step))
        return "value", value

    def _array(self, x: array) -> _Spec:
        place = _c._slot_of(x)
        if place is not None and place[0] == self._id:
            return "slot", place[1]
        if _c._reads_stand_in(x):
            raise _c.TraceError(
                "shapeless: an array was computed from the function's inputs by something that "
                "cannot be made again for other sizes\nCompile it without shapeless=True"
            )
        self.closed &= not _c._is_tracer(x)
        # A handle of its own: the program may change its array in place.
        return "array", x._handle()

    @contextlib.contextmanager
    def _paused(self) -> Iterator[None]:
        before = _c._listen(None)
        try:
            yield
        finally:
            _c._listen(before)

    # --- what it is told -------------------------------------------------------------------------

    def call(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Make a call that reads slots, and keep it."""
        arguments = self._spec(tuple(args)), {k: self._spec(v) for k, v in kwargs.items()}
        with self._paused():
            out = function(*plain(tuple(args)), **plain(kwargs))
        device, origin = _c._here()
        here = (-1 if device == self._device else device), origin
        leaves = leaves_of(out)
        if isinstance(out, bool):
            answer = Answer(name, function, arguments, self._next, [], here)
            answer.expected = out
            self._into.append(answer)
        if not leaves:
            return out
        kinds = [kind_of(leaf) for leaf in leaves]
        self._into.append(Call(name, function, arguments, self._next, kinds, here))
        of = next(iter(self._labels_of(arguments[0])), "")
        counter = itertools.count()

        def stand_in(leaf: Any) -> Any:
            if isinstance(leaf, array):
                return self._new(leaf, f"the result of {short(name)}")
            at = f"[{next(counter)}]" if len(leaves) > 1 or not isinstance(out, int) else ""
            self._labels[self._next] = f"{short(name)}{at} of {of}"
            self._next += 1
            return number(self, ("slot", self._next - 1), leaf)

        return mapped(out, stand_in)

    def operator(self, name: str, args: tuple[Any, ...]) -> Any:
        """An operator of arrays, as Python's module `operator` names it."""
        if name == "length":
            return int(self.call("array.shape", _c._functions["array.shape"], args, {})[0])
        return self.call(f"operator.{name}", operator_named(name), args, {})

    def _labels_of(self, spec: _Spec) -> list[str]:
        return [self._labels[i] for i in slots_of(spec)]

    def _text(self, spec: _Spec) -> str:
        if spec[0] == "slot":
            return self._labels[spec[1]]
        if spec[0] == "op":
            return f"{spec[1].rstrip('_')}({', '.join(self._text(s) for s in spec[2])})"
        return str(spec[1])

    def settle(self, of: Number) -> None:
        """The function has taken a number's value."""
        if self.listening and (of.spec, len(self._into)) not in self._held:
            self._held.add((of.spec, len(self._into)))
            self._into.append(Condition("value", [of.spec], of.value, self._text(of.spec)))

    def decide(self, name: str, left: Number, right: Any) -> bool:
        """The function compares a number."""
        result = bool(COMPARISONS[name](left.value, plain(right)))
        if self.listening:
            sides = [left.spec, self._spec(right)]
            signs = {"lt": "<", "le": "<=", "eq": "==", "ne": "!=", "gt": ">", "ge": ">="}
            text = f"{self._text(sides[0])} {signs[name]} {self._text(sides[1])}"
            self._into.append(Condition(name, sides, result, text))
        return result

    # --- transforms ------------------------------------------------------------------------------

    def _traced(
        self, fun: Callable[..., Any], arguments: Any, likes: list[tuple[tuple[int, ...], Any]]
    ) -> tuple[list[Any], list[int], Any]:
        """The calls of a function of stand-ins, their slots, and what it gave."""
        first = self._next
        with self._paused():
            fresh = iter([self._new(_c.zeros(s, dtype=d), "an array") for s, d in likes])
        body: list[Any] = []
        around, self._into = self._into, body
        try:
            arrays = mapped(arguments, lambda x: next(fresh) if isinstance(x, array) else x)
            out = fun(arrays)
        finally:
            self._into = around
        return body, list(range(first, first + len(likes))), out

    def _done(
        self,
        kind: str,
        traced: tuple[list[Any], list[int], Any],
        given: list[_Spec],
        likes: list[tuple[tuple[int, ...], Any]],
        **rest: Any,
    ) -> _Arrays:
        body, inputs, outputs = traced
        specs = [self._spec(x) for x in outputs]
        first = self._next
        with self._paused():
            results = [self._new(_c.zeros(s, dtype=d), f"a result of {kind}") for s, d in likes]
            kinds = [kind_of(x) for x in results]
        self._into.append(Transform(kind, body, inputs, specs, given, first, kinds, **rest))
        return results

    def _likes(self, arrays: _Arrays) -> list[tuple[tuple[int, ...], Any]]:
        with self._paused():
            return [(x.shape, x.dtype) for x in arrays]

    def vjp(
        self, fun: Callable[..., _Arrays], primals: _Arrays, cotangents: Callable[..., _Arrays]
    ) -> tuple[_Arrays, _Arrays]:
        likes = self._likes(primals)
        traced = self._traced(fun, primals, likes)
        others = [self._spec(x) for x in cotangents(traced[2])]
        given = [self._spec(x) for x in primals]
        return traced[2], self._done("vjp", traced, given, likes, others=others)

    def jvp(
        self, fun: Callable[..., _Arrays], primals: _Arrays, tangents: _Arrays
    ) -> tuple[_Arrays, _Arrays]:
        traced = self._traced(fun, primals, self._likes(primals))
        given, others = ([self._spec(x) for x in xs] for xs in (primals, tangents))
        return traced[2], self._done("jvp", traced, given, self._likes(traced[2]), others=others)

    def vmap(
        self,
        fun: Callable[..., _Arrays],
        inputs: _Arrays,
        in_axes: list[int | None],
        out_axes: Callable[[int], list[int | None]],
    ) -> _Arrays:
        batched = [x for x, axis in zip(inputs, in_axes, strict=True) if axis is not None]
        axes = [axis for axis in in_axes if axis is not None]
        likes, batch = [], 0
        for (shape, dtype), axis in zip(self._likes(batched), axes, strict=True):
            at = axis + len(shape) if axis < 0 else axis
            if not 0 <= at < len(shape):
                raise ValueError(
                    f"vmap: axis {axis} is out of bounds for an array with {len(shape)} axes"
                )
            batch = shape[at]
            likes.append(((*shape[:at], *shape[at + 1 :]), dtype))

        def whole(leaves: _Arrays) -> _Arrays:
            rows = iter(leaves)
            pairs = zip(inputs, in_axes, strict=True)
            return fun([x if axis is None else next(rows) for x, axis in pairs])

        traced = self._traced(whole, batched, likes)
        to = out_axes(len(traced[2]))
        results = []
        for (shape, dtype), place in zip(self._likes(traced[2]), to, strict=True):
            if place is not None:
                at = place + len(shape) + 1 if place < 0 else place
                shape = (*shape[:at], batch, *shape[at:])
            results.append((shape, dtype))
        given = [self._spec(x) for x in batched]
        return self._done("vmap", traced, given, results, in_axes=axes, out_axes=to)

    def checkpoint(self, fun: Callable[..., _Arrays], inputs: _Arrays) -> _Arrays:
        traced = self._traced(fun, inputs, self._likes(inputs))
        given = [self._spec(x) for x in inputs]
        return self._done("checkpoint", traced, given, self._likes(traced[2]))

    def custom(self, rules: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A custom function: its rules are asked when the calls are made again."""
        inputs = [x for x in leaves_of(args) if isinstance(x, array)]
        body, slots, out = self._traced(
            lambda inside: rules._function(*inside, **kwargs), tuple(args), self._likes(inputs)
        )
        outputs = [x for x in leaves_of(out) if isinstance(x, array)]
        given = [self._spec(x) for x in inputs]
        arguments = self._spec(tuple(args))
        results = iter(
            self._done(
                "custom",
                (body, slots, outputs),
                given,
                self._likes(outputs),
                arguments=arguments,
                rules=rules,
            )
        )
        return mapped(out, lambda x: next(results) if isinstance(x, array) else x)
