"""Functions over trees: nested dicts, lists and tuples whose leaves are anything else.

A leaf's path is the keys and indices that lead to it joined by dots, e.g. ``"layers.0.weight"``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _rebuild(tree: Any, values: list[Any]) -> Any:
    """A list, tuple or named tuple of the type of `tree` holding `values`."""
    kind = type(tree)
    return kind(*values) if hasattr(tree, "_fields") else kind(values)


def tree_map(
    fn: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[..., Any] | None = None
) -> Any:
    """Apply `fn` to every leaf of `tree`, together with the same places of the trees in `rest`.

    The result has the structure of `tree` (dict subclasses become plain dicts). `rest` may hold
    more keys than `tree`; the extra ones are ignored. `is_leaf(node)` true stops the descent.
    """
    if is_leaf is not None and is_leaf(tree):
        return fn(tree, *rest)
    if isinstance(tree, dict):
        return {k: tree_map(fn, v, *(r[k] for r in rest), is_leaf=is_leaf) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return _rebuild(
            tree,
            [tree_map(fn, v, *(r[i] for r in rest), is_leaf=is_leaf) for i, v in enumerate(tree)],
        )
    return fn(tree, *rest)


def tree_map_with_path(
    fn: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: Callable[..., Any] | None = None,
    path: Any | None = None,
) -> Any:
    """`tree_map` whose function takes the leaf's path first: ``fn(path, leaf, *rest_leaves)``.

    `path` is the path of `tree` itself; a leaf given without one is called with `path` as is.
    """
    if is_leaf is not None and is_leaf(tree):
        return fn(path, tree, *rest)
    prefix = f"{path}." if path else ""
    if isinstance(tree, dict):
        return {
            k: tree_map_with_path(
                fn, v, *(r[k] for r in rest), is_leaf=is_leaf, path=f"{prefix}{k}"
            )
            for k, v in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        return _rebuild(
            tree,
            [
                tree_map_with_path(
                    fn, v, *(r[i] for r in rest), is_leaf=is_leaf, path=f"{prefix}{i}"
                )
                for i, v in enumerate(tree)
            ],
        )
    return fn(path, tree, *rest)


def _flatten_into(
    tree: Any, prefix: str, is_leaf: Callable[..., Any] | None, add: Callable[..., Any]
) -> None:
    if is_leaf is None or not is_leaf(tree):
        if isinstance(tree, dict):
            for key, value in tree.items():
                _flatten_into(value, f"{prefix}.{key}", is_leaf, add)
            return
        if isinstance(tree, (list, tuple)):
            for i, value in enumerate(tree):
                _flatten_into(value, f"{prefix}.{i}", is_leaf, add)
            return
    # Paths are built with a leading dot, which the caller's prefix may already stand for.
    add(prefix[1:], tree)


def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: Callable[..., Any] | None = None,
    destination: list[tuple[str, Any]] | dict[str, Any] | None = None,
) -> Any:
    """The leaves of `tree` with their paths: a list of pairs, or `destination` extended by them.

    The first character of `prefix` is dropped: pass ``".model"`` to get paths below ``model``.
    `destination` may be a list (pairs are appended) or a dict (paths become keys); it is returned.
    A lone leaf has the path ``""``.
    """
    if destination is None:
        destination = []
    if isinstance(destination, list):
        pairs = destination

        def add(key: str, value: Any) -> None:
            pairs.append((key, value))

    elif isinstance(destination, dict):
        named = destination

        def add(key: str, value: Any) -> None:
            named[key] = value

    else:
        raise ValueError(
            "tree_flatten: destination must be a list, a dict or None, "
            f"got {type(destination).__name__}"
        )
    _flatten_into(tree, prefix, is_leaf, add)
    return destination


def _lists_where_indices(node: Any) -> Any:
    """Turn every dict whose keys are all indices into a list, bottom up."""
    if not isinstance(node, _Branch):
        return node
    items = {k: _lists_where_indices(v) for k, v in node.items()}
    if items and all(k.isdigit() for k in items):
        values: list[Any] = []
        for index, value in sorted((int(k), v) for k, v in items.items()):
            while len(values) < index:
                values.append({})
            values.append(value)
        return values
    return items


class _Branch(dict[str, Any]):
    """An inner node under construction, told apart from leaves that are dicts."""


def tree_unflatten(tree: list[tuple[str, Any]] | dict[str, Any]) -> Any:
    """The tree whose flattening is `tree`: the inverse of `tree_flatten`.

    Keys that are all indices make a list, with ``{}`` in the places that no path names.
    ``[("", leaf)]`` gives the leaf; no entries at all give ``[]``.
    """
    entries = list(tree.items()) if isinstance(tree, dict) else list(tree)
    if not entries:
        return []
    if len(entries) == 1 and entries[0][0] == "":
        return entries[0][1]
    root = _Branch()
    for path, value in entries:
        *parents, last = path.split(".")
        node = root
        for key in parents:
            node = node.setdefault(key, _Branch())
            if not isinstance(node, _Branch):
                raise ValueError(f"tree_unflatten: {path!r} goes through the leaf {key!r}")
        if last in node:
            raise ValueError(f"tree_unflatten: {path!r} appears twice or holds other paths")
        node[last] = value
    return _lists_where_indices(root)


def tree_reduce(
    fn: Callable[..., Any],
    tree: Any,
    initializer: Any = None,
    is_leaf: Callable[..., Any] | None = None,
) -> Any:
    """Fold the leaves from the left: ``fn(...fn(initializer, leaf0)..., leafN)``.

    Without `initializer` (None) the first leaf starts the fold; a tree without leaves gives None.
    """
    accumulator = initializer
    for _, leaf in tree_flatten(tree, is_leaf=is_leaf):
        accumulator = leaf if accumulator is None else fn(accumulator, leaf)
    return accumulator


def _is_hole(node: Any) -> bool:
    return node is None or (isinstance(node, (dict, list, tuple)) and len(node) == 0)


def tree_merge(tree_a: Any, tree_b: Any, merge_fn: Callable[..., Any] | None = None) -> Any:
    """One tree with the leaves of both; ``{}``, ``[]`` and None give way to the other side.

    Where both have a leaf the result is ``merge_fn(a, b)``.

    Raises:
        ValueError: both trees have something at a place and no `merge_fn` was given.

    """
    if _is_hole(tree_a):
        return tree_b
    if _is_hole(tree_b):
        return tree_a
    if isinstance(tree_a, dict) and isinstance(tree_b, dict):
        merged = {
            k: tree_merge(v, tree_b[k], merge_fn) if k in tree_b else v for k, v in tree_a.items()
        }
        merged.update((k, v) for k, v in tree_b.items() if k not in tree_a)
        return merged
    if isinstance(tree_a, (list, tuple)) and isinstance(tree_b, (list, tuple)):
        shared = min(len(tree_a), len(tree_b))
        values = [tree_merge(tree_a[i], tree_b[i], merge_fn) for i in range(shared)]
        return _rebuild(tree_a, [*values, *tree_a[shared:], *tree_b[shared:]])
    if merge_fn is None:
        raise ValueError(
            "tree_merge: both trees have an element at the same place and there is no merge_fn: "
            f"{type(tree_a).__name__} and {type(tree_b).__name__}"
        )
    return merge_fn(tree_a, tree_b)
