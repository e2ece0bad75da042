"""Module: the base of layers and models, a dict whose arrays are its parameters."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable
from typing import Any

import lamina.core as mx
from lamina._categories import PARAMETER, tag
from lamina.nn.scopes import scoped
from lamina.utils import tree_flatten, tree_unflatten


class Module(dict[str, Any]):
    """A tree of parameters, child modules and plain attributes.

    Attributes that are arrays, dicts, lists or tuples live in the dict and so belong to the state;
    all others are ordinary instance attributes. A parameter is an array reached through modules,
    dicts and lists under keys that do not begin with an underscore.

    Subclasses call ``super().__init__()`` first and define ``__call__``.
    """

    __call__: Callable[..., Any]

    def __init__(self) -> None:
        super().__init__()
        self._no_grad: set[str] = set()
        self._training = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        call = cls.__dict__.get("__call__")
        if callable(call):
            cls.__call__ = scoped(call)  # type: ignore[method-assign]

    @property
    def training(self) -> bool:
        """True in training mode (the initial one), False after `eval`."""
        return self._training

    @property
    def state(self) -> Module:
        """The module itself: the dict of everything that changes as it learns."""
        return self

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            pass
        raise AttributeError(self._missing_attribute(key))

    def _missing_attribute(self, key: str) -> str:
        name = type(self).__name__
        if key in ("_no_grad", "_training"):
            return f"{name}: not initialised, call super().__init__() first in {name}.__init__"
        message = f"{name!r} object has no attribute {key!r}"
        if not key.startswith("__"):
            known = {*self, *vars(self), *(n for n in dir(type(self)) if n[0] != "_")}
            near = difflib.get_close_matches(key, sorted(known), n=3)
            if near:
                message += f"; near matches: {', '.join(near)}"
        return message

    def __setattr__(self, key: str, val: Any) -> None:
        if isinstance(val, (mx.array, dict, list, tuple)):
            self.__dict__.pop(key, None)
            self[key] = val
            if key[0] != "_" and not isinstance(val, Module):
                _tag_parameters(val)
        else:
            super().__setattr__(key, val)
            self.pop(key, None)

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
        else:
            super().__delattr__(name)

    def _extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        children = tree_flatten(self.children(), is_leaf=Module.is_module)
        lines = [textwrap.indent(f"({name}): {child!r}", "  ") for name, child in children]
        body = "\n".join(["", *lines, ""]) if lines else ""
        return f"{type(self).__name__}({self._extra_repr()}{body})"

    @staticmethod
    def is_module(value: Any) -> bool:
        """Whether `value` is a Module."""
        return isinstance(value, Module)

    @staticmethod
    def valid_child_filter(module: Module, key: str, value: Any) -> bool:
        """Whether `value` can hold child modules: a module, dict or list."""
        return isinstance(value, (dict, list))

    @staticmethod
    def valid_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """Whether `value` is or can hold parameters: no leading underscore in its name."""
        return isinstance(value, (dict, list, mx.array)) and not key.startswith("_")

    @staticmethod
    def trainable_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """`valid_parameter_filter` without what `freeze` took out."""
        return (
            isinstance(value, (dict, list, mx.array))
            and not key.startswith("_")
            and key not in module._no_grad
        )

    def filter_and_map(
        self,
        filter_fn: Callable[[Module, str, Any], bool],
        map_fn: Callable[..., Any] | None = None,
        is_leaf_fn: Callable[[Module, str, Any], bool] | None = None,
    ) -> dict[str, Any]:
        """The tree of members that pass `filter_fn`, with `map_fn` applied to its leaves.

        Both filters are called as ``f(module, key, value)``; inside dicts and lists the key is the
        dotted path from the module. What fails inside a dict or list leaves ``{}`` in its place.
        By default a leaf is anything but a module, dict or list.
        """
        return _members(self, filter_fn, map_fn or _identity, is_leaf_fn)

    def parameters(self) -> dict[str, Any]:
        """The tree of all parameters."""
        return self.filter_and_map(self.valid_parameter_filter)

    def trainable_parameters(self) -> dict[str, Any]:
        """The tree of the parameters that are not frozen."""
        return self.filter_and_map(self.trainable_parameter_filter)

    def children(self) -> dict[str, Any]:
        """The tree of the direct child modules."""
        return self.filter_and_map(
            self.valid_child_filter, is_leaf_fn=lambda m, k, v: isinstance(v, Module)
        )

    def leaf_modules(self) -> dict[str, Any]:
        """The tree of the modules that have no child modules."""
        return self.filter_and_map(
            self.valid_child_filter,
            is_leaf_fn=lambda m, k, v: isinstance(v, Module) and not v._named_children(),
        )

    def _named_children(self) -> list[Any]:
        flat = tree_flatten(self.children(), is_leaf=Module.is_module)
        return [(name, child) for name, child in flat if isinstance(child, Module)]

    def named_modules(self) -> list[tuple[str, Module]]:
        """Every module from this one, named ``""``, downwards with its dotted path."""
        found: list[tuple[str, Module]] = []
        self.apply_to_modules(lambda name, module: found.append((name, module)))
        return found

    def modules(self) -> list[Module]:
        """Every module from this one downwards."""
        return [module for _, module in self.named_modules()]

    def apply_to_modules(self, apply_fn: Callable[[str, Module], Any]) -> Module:
        """Call ``apply_fn(path, module)`` for this module and all below it; returns self."""
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            apply_fn(path, module)
            prefix = f"{path}." if path else ""
            stack.extend((prefix + name, child) for name, child in module._named_children())
        return self

    def apply(
        self,
        map_fn: Callable[[mx.array], mx.array],
        filter_fn: Callable[[Module, str, Any], bool] | None = None,
    ) -> Module:
        """Replace every parameter (or what `filter_fn` picks) by ``map_fn`` of it; returns self."""
        self.update(self.filter_and_map(filter_fn or Module.valid_parameter_filter, map_fn))
        return self

    def set_dtype(
        self,
        dtype: mx.Dtype,
        predicate: Callable[[mx.Dtype], bool] | None = lambda x: mx.issubdtype(x, mx.floating),
    ) -> None:
        """Cast to `dtype` the parameters whose dtype passes `predicate` (None: all of them)."""
        accepts = predicate or (lambda _: True)
        self.apply(lambda x: x.astype(dtype) if accepts(x.dtype) else x)

    def update(self, parameters: dict[str, Any], strict: bool = True) -> Module:  # type: ignore[override]
        """Replace parameters by those of a tree shaped like `parameters()`; returns self.

        The tree may name a part only. Shapes and dtypes are not checked.

        Raises:
            ValueError: `strict`, and the tree names something that this module lacks or holds a
                value of the wrong kind; the message names the path.

        """
        _update_parameters(self, parameters, strict, (), type(self).__name__)
        return self

    def update_modules(self, modules: dict[str, Any], strict: bool = True) -> Module:
        """Replace child modules by those of a tree shaped like `leaf_modules()`; returns self.

        Raises:
            ValueError: `strict`, and the tree names something that is no module here.

        """
        _update_modules(self, modules, strict, (), type(self).__name__)
        return self

    def freeze(
        self,
        *,
        recurse: bool = True,
        keys: str | list[str] | None = None,
        strict: bool = False,
    ) -> Module:
        """Take parameters out of `trainable_parameters`; returns self.

        Args:
            recurse: also in the modules below.
            keys: names of the parameters, without: all of each module.
            strict: raise KeyError where a module lacks one of `keys`.

        """
        for module in self.modules() if recurse else [self]:
            module._no_grad.update(module._own_keys(keys, strict))
        return self

    def unfreeze(
        self,
        *,
        recurse: bool = True,
        keys: str | list[str] | None = None,
        strict: bool = False,
    ) -> Module:
        """Undo `freeze`; the arguments are the same. Returns self.

        A module below that overrides `unfreeze` is asked through its own method, so buffers such
        as running statistics stay frozen.
        """
        if keys is None:
            self._no_grad.clear()
        else:
            self._no_grad.difference_update(self._own_keys(keys, strict))
        if recurse:
            for module in self.modules()[1:]:
                module.unfreeze(recurse=False, keys=keys, strict=strict)
        return self

    def _own_keys(self, keys: str | list[str] | None, strict: bool) -> list[str]:
        if keys is None:
            own = self.filter_and_map(
                lambda m, k, v: not isinstance(v, Module) and m.valid_parameter_filter(m, k, v)
            )
            return [name for name, _ in tree_flatten(own)]
        names = [keys] if isinstance(keys, str) else list(keys)
        if strict:
            for name in names:
                if name not in self:
                    raise KeyError(f"{type(self).__name__}: no member named {name!r}")
        return names

    def train(self, mode: bool = True) -> Module:
        """Set training mode (or evaluation mode) here and in all modules below; returns self."""
        for module in self.modules():
            module._set_training_mode(bool(mode))
        return self

    def _set_training_mode(self, mode: bool) -> None:
        """What `train` does to one module; layers that have two forms change between them here."""
        self._training = mode

    def eval(self) -> Module:
        """Set evaluation mode, same as ``train(False)``."""
        return self.train(False)

    def save_weights(self, file: str) -> None:
        """Write all parameters, by dotted path, to a ``.npz`` or ``.safetensors`` file."""
        from lamina.nn.weights import save

        save(file, dict(tree_flatten(self.parameters())))

    def load_weights(
        self,
        file_or_weights: str | list[tuple[str, mx.array]],
        strict: bool = True,
    ) -> Module:
        """Take parameters from a file, or from a list of (dotted path, array); returns self.

        Raises:
            ValueError: `strict`, and names are missing, unknown, or of another shape than the
                parameter; the message lists all of them.

        """
        from lamina.nn.weights import check, load

        weights = load(file_or_weights)
        if strict:
            check(type(self).__name__, dict(tree_flatten(self.parameters())), weights)
        if weights:
            self.update(tree_unflatten(weights), strict=False)
        return self


def _identity(value: Any) -> Any:
    return value


def _members(
    module: Module,
    keep: Callable[..., Any],
    fn: Callable[..., Any],
    is_leaf: Callable[..., Any] | None,
) -> dict[str, Any]:
    """`filter_and_map` of one module."""
    found: dict[str, Any] = {}
    for key, value in module.items():
        if keep(module, key, value):
            if is_leaf is None and not isinstance(value, (dict, list)):
                found[key] = fn(value)
            else:
                found[key] = _unwrap(module, key, value, keep, fn, is_leaf)
    return found


def _unwrap(
    module: Module,
    key: str,
    value: Any,
    keep: Callable[..., Any],
    fn: Callable[..., Any],
    is_leaf: Callable[..., Any] | None,
) -> Any:
    """The part of `filter_and_map` at one member, which has already passed the filter."""
    nested = isinstance(value, (dict, list))
    if not nested if is_leaf is None else is_leaf(module, key, value):
        return fn(value)
    if isinstance(value, Module):
        return _members(value, keep, fn, is_leaf)
    if not nested:
        raise RuntimeError(
            f"{type(module).__name__}: filter_and_map: {key!r} is a {type(value).__name__}, "
            "neither a leaf nor a module, dict or list"
        )

    def entry(name: Any, v: Any) -> Any:
        path = f"{key}.{name}"
        return _unwrap(module, path, v, keep, fn, is_leaf) if keep(module, path, v) else {}

    if isinstance(value, dict):
        return {k: entry(k, v) for k, v in value.items()}
    return [entry(i, v) for i, v in enumerate(value)]


def _tag_parameters(value: Any) -> None:
    if isinstance(value, mx.array):
        tag(value, PARAMETER)
    elif isinstance(value, Module):
        return
    elif isinstance(value, dict):
        for entry in value.values():
            _tag_parameters(entry)
    elif isinstance(value, list):
        for entry in value:
            _tag_parameters(entry)


def _slots(
    dst: Any, tree: Any, strict: bool, path: tuple[Any, ...], where: str, what: str
) -> list[tuple[Any, Any]]:
    """Pairs (key, new value) of `tree` that exist in `dst`, a dict or list.

    A list stands for a dict with index names as well, since unflattening cannot tell them apart.
    """
    if isinstance(tree, dict):
        pairs = list(tree.items())
        dst = dst if isinstance(dst, dict) else {}
    elif isinstance(tree, list) and isinstance(dst, dict):
        pairs = [(str(i), v) for i, v in enumerate(tree) if str(i) in dst or not _is_empty(v)]
    elif isinstance(tree, list):
        pairs = list(enumerate(tree))
    elif strict:
        raise ValueError(
            f"{where}: expected a dict or list at {_dotted(path) or 'the root'!r}, "
            f"got {type(tree).__name__}"
        )
    else:
        return []
    found = []
    for key, value in pairs:
        if key in dst if isinstance(dst, dict) else key < len(dst):
            found.append((key, value))
        elif strict:
            name = _dotted((*path, key))
            raise ValueError(f"{where}: no {what} named {name!r}{_near(key, dst)}")
    return found


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _near(key: Any, dst: Any) -> str:
    near = difflib.get_close_matches(str(key), list(dst), n=3) if isinstance(dst, dict) else []
    return f"; near matches: {', '.join(near)}" if near else ""


def _is_empty(value: Any) -> bool:
    return type(value) in (dict, list) and not value  # a Module without members is no hole


def _update_parameters(
    dst: Any, tree: Any, strict: bool, path: tuple[Any, ...], where: str
) -> None:
    # Runs over all parameters at every training step: what is in order takes the short way.
    left: Any = tree
    if isinstance(tree, dict) and isinstance(dst, dict):
        left = {}
        for key, value in tree.items():
            current = dst.get(key)
            if isinstance(value, mx.array) and isinstance(current, mx.array):
                tag(value, PARAMETER)
                dst[key] = value
            elif isinstance(value, dict) and isinstance(current, dict):
                _update_parameters(current, value, strict, (*path, key), where)
            else:
                left[key] = value
        if not left:
            return
    for key, value in _slots(dst, left, strict, path, where, "parameter"):
        current = dst[key]
        if isinstance(current, (dict, list)):
            _update_parameters(current, value, strict, (*path, key), where)
        elif isinstance(current, mx.array) and isinstance(value, mx.array):
            tag(value, PARAMETER)
            dst[key] = value
        elif strict and not _is_empty(value):
            is_array = isinstance(current, mx.array)
            wanted = "expected an array for" if is_array else f"no parameter but {_a(current)} at"
            raise ValueError(
                f"{where}: {wanted} {_dotted((*path, key))!r}, got {type(value).__name__}"
            )


def _update_modules(dst: Any, tree: Any, strict: bool, path: tuple[Any, ...], where: str) -> None:
    for key, value in _slots(dst, tree, strict, path, where, "sub-module"):
        current = dst[key]
        if isinstance(current, Module) and isinstance(value, Module):
            dst[key] = value
        elif isinstance(current, (dict, list)):
            _update_modules(current, value, strict, (*path, key), where)
        elif strict and not _is_empty(value):
            raise ValueError(
                f"{where}: no module but {_a(current)} at "
                f"{_dotted((*path, key))!r}, got {type(value).__name__}"
            )
