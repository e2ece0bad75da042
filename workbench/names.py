"""Names and categories of a plan's nodes: which parameter, optimizer state or variable a leaf is.

Nothing is noted while the program runs.  The program's variables are looked through before the
clock starts and after it has stopped, which tells what each buffer is called at those moments; the
bind events tell which node had which buffer in between.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .plan import ACTIVATION, INPUT, OPTIMIZER_STATE, OUTPUT, PARAMETER, Plan
from .recording import BIND_LEAF, BIND_OUTPUT, Events

EVAL, BIND = 1, 9
# Runs of each plan that are looked at: the same nodes mean the same in those between.
FIRST_RUNS, LAST_RUNS = 3, 2
# Containers of a program may be huge and hold no array at all.
MOST_ENTRIES, MOST_DEPTH, PROBED = 5_000, 6, 8

Key = tuple[int, int]  # plan, node
Space = Mapping[str, Any]


class Name(NamedTuple):
    """What an array is called, and its category where its place tells it, else 0."""

    text: str
    category: int = 0


class Names:
    """What the program calls its arrays.  One use, as its recorder has."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self._before: dict[int, Name] = {}
        self._after: dict[int, Name] = {}

    def before(self, spaces: Sequence[Space]) -> None:
        """Look through the variables, innermost space first, before the program runs."""
        self._before = self._look(spaces)

    def after(self, spaces: Sequence[Space]) -> None:
        """The same once it has run."""
        self._after = self._look(spaces)

    def annotate(
        self,
        plans: Mapping[int, Plan],
        events: Events,
        phase: Callable[[int, int], str],
    ) -> dict[int, Plan]:
        """The plans with names and categories put in; a plan nothing is new of comes back as is.

        phase: ``forward``, ``backward`` or nothing, of a plan and a node.
        """
        found = _Uses(plans)
        found.follow(events, self._before)
        found.end(self._after)
        return {
            plan_id: _named(plan, found, partial(phase, plan_id)) for plan_id, plan in plans.items()
        }

    def _look(self, spaces: Sequence[Space]) -> dict[int, Name]:
        array = getattr(sys.modules.get("lamina.core"), "array", None)
        if array is None:
            return {}
        names: dict[int, Name] = {}
        for name, value in arrays_of(spaces, array):
            buffer = self._core._buffer_id(value)
            if buffer:
                names.setdefault(buffer, name)
        return names


def arrays_of(spaces: Sequence[Space], array: type) -> Iterator[tuple[Name, Any]]:
    """Names and arrays of everything in reach, those inside models and optimizers first.

    A parameter is called by its path in the model, with the model's own variable in front where
    there are several; other arrays by their variable.
    """
    module = getattr(sys.modules.get("lamina.nn"), "Module", ())
    optimizer = getattr(sys.modules.get("lamina.optimizers"), "Optimizer", ())
    held = list(_held(spaces))
    models = {
        id(value): (name, value) for name, value in reversed(held) if isinstance(value, module)
    }
    inner = {id(m) for _, top in models.values() for m in _below(top, module)}
    models = {key: pair for key, pair in models.items() if key not in inner}
    for name, model in reversed(models.values()):
        prefix = f"{name}." if len(models) > 1 else ""
        yield from ((Name(prefix + path, PARAMETER), x) for path, x in _flat(model, array))
    for _, value in held:
        if isinstance(value, optimizer):
            state = vars(value).get("_state", {})
            yield from ((Name(path, OPTIMIZER_STATE), x) for path, x in _flat(state, array))
    for name, value in held:
        if isinstance(value, array):
            yield Name(name), value
        elif isinstance(value, dict | list | tuple) and not isinstance(value, module):
            yield from ((Name(f"{name}.{path}"), x) for path, x in _flat(value, array))


def _held(spaces: Sequence[Space]) -> Iterator[tuple[str, Any]]:
    """Variables, and the attributes of plain instances among them (``self``, a trainer)."""
    for space in spaces:
        for name, value in list(space.items()):
            if name.startswith("_"):
                continue
            yield name, value
            if type(value).__module__.split(".")[0] in sys.stdlib_module_names:
                continue
            attributes = getattr(value, "__dict__", None)
            if type(attributes) is dict and not isinstance(value, dict):
                prefix = "" if name == "self" else f"{name}."
                yield from ((prefix + key, v) for key, v in list(attributes.items()))


def _below(tree: Any, kind: Any) -> Iterator[Any]:
    """Everything of ``kind`` inside a tree of dicts and lists, itself left out."""
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        for value in _entries(node):
            if isinstance(value[1], kind):
                yield value[1]
            if isinstance(value[1], dict | list | tuple) and depth < MOST_DEPTH:
                stack.append((value[1], depth + 1))


def _flat(tree: Any, array: type, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(dotted path, array) of a tree of dicts, lists and tuples."""
    for key, value in _entries(tree):
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, array):
            yield where, value
        elif isinstance(value, dict | list | tuple) and depth < MOST_DEPTH:
            yield from _flat(value, array, where, depth + 1)


def _entries(tree: Any) -> list[tuple[Any, Any]]:
    """(key, value) of a dict, list or tuple; none where its first values say it holds no arrays."""
    pairs = iter(dict.items(tree) if isinstance(tree, dict) else enumerate(tree))
    some = list(itertools.islice(pairs, PROBED))
    if all(isinstance(value, str | bytes | int | float | None) for _, value in some):
        return []
    return some + list(itertools.islice(pairs, MOST_ENTRIES))


@dataclass
class _Uses:
    """Follows buffers through evaluations: who wrote a buffer, who read it, what it is called."""

    plans: Mapping[int, Plan]
    names: dict[Key, dict[Name, None]] = field(default_factory=dict)  # an ordered set
    given: set[Key] = field(default_factory=set)  # leaves that no recorded evaluation computed
    _links: dict[tuple[Key, Key], None] = field(default_factory=dict)
    _writer: dict[int, Key] = field(default_factory=dict)
    _unknown: dict[int, list[Key]] = field(default_factory=dict)

    def follow(self, events: Events, known: Mapping[int, Name]) -> None:
        runs = events[events["kind"] == EVAL]
        runs = runs[np.argsort(runs["t0"], kind="stable")]
        binds = events[events["kind"] == BIND]
        binds = binds[np.argsort(binds["run"], kind="stable")]
        starts = np.searchsorted(binds["run"], runs["run"], side="left")
        ends = np.searchsorted(binds["run"], runs["run"], side="right")
        last = -1
        for i in _picked(runs["a"].tolist()):
            if i != last + 1:
                # What the runs between did to the buffers is not known.
                known = {}
                self._writer.clear()
            last = i
            plan = self.plans.get(int(runs["a"][i]))
            if plan is not None:
                self._run(plan, binds[starts[i] : ends[i]], known)

    def _run(self, plan: Plan, binds: Events, known: Mapping[int, Name]) -> None:
        rows = binds[["a", "b", "c"]].tolist()
        memory = {node: buffer for buffer, node, role in rows if role in (BIND_LEAF, BIND_OUTPUT)}
        for buffer, node, role in rows:
            if role != BIND_LEAF:
                continue
            key = (plan.id, node)
            if buffer in self._writer:
                self._links[key, self._writer[buffer]] = None
                continue
            self.given.add(key)
            if buffer in known:
                self._name(key, known[buffer])
            else:
                self._unknown.setdefault(buffer, []).append(key)
        for buffer, node, role in rows:
            if role == BIND_OUTPUT:
                self._writer[buffer] = (plan.id, node)
        slots = {slot.id: slot for slot in plan.memory.buffers}
        for slot in plan.memory.buffers:
            root = slot
            while root.donor >= 0 and root.donor in slots:
                root = slots[root.donor]
            if root is not slot and root.node in memory:
                self._writer[memory[root.node]] = (plan.id, slot.node)

    def end(self, known: Mapping[int, Name]) -> None:
        """Name what the program holds at the end, and pass names from writers to readers."""
        for buffer, name in known.items():
            keys = [self._writer[buffer]] if buffer in self._writer else self._unknown.get(buffer)
            for key in keys or ():
                self._name(key, name)
        moved = True
        while moved:
            moved = False
            for reader, writer in self._links:
                for a, b in ((reader, writer), (writer, reader)):
                    if b in self.names and a not in self.names:
                        self.names[a] = self.names[b]
                        moved = True

    def _name(self, key: Key, name: Name) -> None:
        self.names.setdefault(key, {})[name] = None


def _picked(plan_of_run: Sequence[int]) -> list[int]:
    """Positions of the first and last runs of each plan and of those after them, ascending.

    The next run reads what one wrote, which ties the nodes of different plans together.
    """
    picked: set[int] = set()
    for order, most in ((range(len(plan_of_run)), FIRST_RUNS),
                        (reversed(range(len(plan_of_run))), LAST_RUNS)):  # fmt: skip
        seen: dict[int, int] = {}
        for i in order:
            count = seen.get(plan_of_run[i], 0)
            seen[plan_of_run[i]] = count + 1
            if count < most:
                picked.add(i)
    return sorted(picked | {i + 1 for i in picked if i + 1 < len(plan_of_run)})


def _named(plan: Plan, found: _Uses, phase: Callable[[int], str]) -> Plan:
    rows, nodes = [], []
    for node, row in zip(plan.nodes, plan.raw["nodes"], strict=True):
        new: dict[str, Any] = {}
        names = found.names.get((plan.id, node.id))
        if names:
            first = ", ".join(name.text for name in itertools.islice(names, 2))
            new["name"] = first + (", …" if len(names) > 2 else "")
        category = node.category or _category(plan, node.id, found, phase)
        if category != row.get("category", 0):
            new["category"] = category
        fresh = any(row.get(key) != value for key, value in new.items())
        rows.append({**row, **new} if fresh else row)
        nodes.append(replace(node, **new) if fresh else node)
    if all(a is b for a, b in zip(rows, plan.raw["nodes"], strict=True)):
        return plan
    return replace(plan, nodes=tuple(nodes), raw={**plan.raw, "nodes": rows})


def _category(plan: Plan, node_id: int, found: _Uses, phase: Callable[[int], str]) -> int:
    """Of a node that carries no tag."""
    node = plan.node_by_id[node_id]
    for name in found.names.get((plan.id, node_id), ()):
        if name.category:
            return name.category
    if node.kind == "leaf":
        return INPUT if (plan.id, node_id) in found.given else 0
    if plan.kept_for_backward(node, phase):
        return ACTIVATION
    return OUTPUT if node.role == "output" else 0
