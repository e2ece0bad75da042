"""Tree functions: meaning on small trees, and agreement with MLX on random ones."""

from __future__ import annotations

from collections import namedtuple

import mlx.utils as other
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lamina.utils import (
    tree_flatten,
    tree_map,
    tree_map_with_path,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)

TREE = {"a": [1, (2, {"b": 3})], "c": {}, "d": [], "e": None}
Pair = namedtuple("Pair", ["x", "y"])

leaves = st.integers(0, 99)
keys = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(
    leaves,
    lambda t: (
        st.lists(t, min_size=1, max_size=3) | st.dictionaries(keys, t, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def test_flatten_paths():
    assert tree_flatten(TREE) == [("a.0", 1), ("a.1.0", 2), ("a.1.1.b", 3), ("e", None)]
    assert tree_flatten(5) == [("", 5)]
    assert tree_flatten({1: [7]}) == [("1.0", 7)]


def test_flatten_options():
    assert tree_flatten({"a": 1}, prefix=".m") == [("m.a", 1)]
    assert tree_flatten({"a": [1, 2]}, is_leaf=lambda t: isinstance(t, list)) == [("a", [1, 2])]
    assert tree_flatten({"a": [1, 2]}, destination={"z": 0}) == {"z": 0, "a.0": 1, "a.1": 2}
    assert tree_flatten({"a": 1}, destination=[("z", 0)]) == [("z", 0), ("a", 1)]
    with pytest.raises(ValueError, match="tree_flatten: destination must be a list, a dict"):
        tree_flatten({}, destination=())


def test_unflatten():
    assert tree_unflatten([("a.0", 1), ("a.2", 2), ("b.c", 3)]) == {"a": [1, {}, 2], "b": {"c": 3}}
    assert tree_unflatten([("1", 1), ("0", 2)]) == [2, 1]
    assert tree_unflatten([("0", 1), ("x", 2)]) == {"0": 1, "x": 2}
    assert tree_unflatten({"a.b": 1}) == {"a": {"b": 1}}
    assert tree_unflatten([("", 4)]) == 4
    assert tree_unflatten([]) == []


@pytest.mark.parametrize(
    "entries", [[("a", 1), ("a.b", 2)], [("a.b", 2), ("a", 1)], [("a", 1), ("a", 2)]]
)
def test_unflatten_rejects_paths_through_leaves(entries):
    with pytest.raises(ValueError, match=r"tree_unflatten: 'a"):
        tree_unflatten(entries)


def test_map_follows_the_first_tree():
    assert tree_map(lambda x, y: x + y, {"a": [1, (2, 3)]}, {"a": [10, (20, 30)], "z": 4}) == {
        "a": [11, (22, 33)]
    }
    assert tree_map(len, {"a": [1, 2]}, is_leaf=lambda t: isinstance(t, list)) == {"a": 2}
    assert tree_map(lambda x: x + 1, Pair(1, [2])) == Pair(2, [3])


def test_map_with_path():
    def pair(path, x):
        return path, x

    assert tree_map_with_path(pair, {"a": [5, (6,)]}) == {"a": [("a.0", 5), (("a.1.0", 6),)]}
    assert tree_map_with_path(pair, [5], path="q") == [("q.0", 5)]
    assert tree_map_with_path(pair, 5) == (None, 5)


def test_reduce():
    assert tree_reduce(lambda acc, x: acc + x, {"a": [1, 2], "b": 3}) == 6
    assert tree_reduce(lambda acc, x: acc + x, {"a": [1, 2], "b": 3}, 10) == 16
    assert tree_reduce(lambda acc, x: acc + x, {}) is None


def test_merge():
    assert tree_merge({"a": 1, "c": [1, {}]}, {"b": 2, "c": [{}, 3]}) == {
        "a": 1,
        "b": 2,
        "c": [1, 3],
    }
    assert tree_merge([1, {}, None], [{}, 3, 4]) == [1, 3, 4]
    assert tree_merge({"a": 1, "c": [1, 2]}, {"a": 2, "c": [5]}, lambda x, y: x + y) == {
        "a": 3,
        "c": [6, 2],
    }
    with pytest.raises(ValueError, match="tree_merge: both trees have an element"):
        tree_merge({"a": 1}, {"a": 2})


@given(trees)
def test_agrees_with_mlx(tree):
    flat = tree_flatten(tree)
    assert flat == other.tree_flatten(tree)
    assert tree_unflatten(flat) == other.tree_unflatten(flat) == tree
    assert tree_map(str, tree) == other.tree_map(str, tree)
    by_path = tree_map_with_path(lambda p, x: (p, x), tree)
    assert by_path == other.tree_map_with_path(lambda p, x: (p, x), tree)
    assert tree_merge(tree, tree, max) == tree
