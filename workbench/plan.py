"""The description of one plan, as data: graph, groups, edges with their reasons, launches, memory.

A plan is what the engine made of one evaluation's graph.  It never changes, so one description
serves every run of it.  Bytes are bytes of one run; indices are positions in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, TypeVar

T = TypeVar("T")

CATEGORIES = (
    "temporary",
    "parameter",
    "gradient",
    "optimizer state",
    "activation",
    "input data",
    "arena",
    "output",
)
PARAMETER, GRADIENT, OPTIMIZER_STATE, ACTIVATION, INPUT, ARENA, OUTPUT = range(1, 8)


def category_name(code: int) -> str:
    """Name of an allocation category; codes from a newer engine read as ``category 9``."""
    return CATEGORIES[code] if 0 <= code < len(CATEGORIES) else f"category {code}"


@dataclass(frozen=True)
class Node:
    """One operation of the graph.  ``group`` is None for views, leaves and aliases.

    ``name`` is what the program calls the value (a parameter's path, a variable), empty where that
    is not known.  ``value`` is a scalar's, in the first run where ``varies``.
    """

    id: int
    op: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    inputs: tuple[int, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    flops: int = 0
    group: int | None = None
    role: str = "interior"
    category: int = 0
    name: str = ""
    value: Any = None
    varies: bool = False

    @property
    def title(self) -> str:
        """What a reader calls the node: a leaf's name, a scalar's value, else the operation."""
        if self.name and self.kind == "leaf":
            return self.name
        if self.value is not None:
            return f"{self.value}{' (varies)' if self.varies else ''}"
        return self.op


@dataclass(frozen=True)
class Group:
    """Nodes that became one kernel, with what it does (``program``).

    From devices that compile source also the ``text``, which may be that of several kernels, and
    the microseconds a compiler spent on it: 0 where all came from a cache, None without text.
    """

    id: int
    kind: str
    label: str
    nodes: tuple[int, ...]
    launch: int | None = None
    reads: int = 0
    writes: int = 0
    flops: int = 0
    scratch: int = 0
    program: str = ""
    text: str = ""
    compile_us: float | None = None


@dataclass(frozen=True)
class Edge:
    """One producer-consumer pair.

    Fused: ``bytes`` were saved.  Not fused: ``reason`` is one code of the closed enumeration and
    ``bytes`` were written and read because of it.  ``via`` lists the views in between.
    """

    src: int
    dst: int
    fused: bool
    bytes: int
    reason: str = ""
    via: tuple[int, ...] = ()


@dataclass(frozen=True)
class Launch:
    """One step of the plan: one or several groups run by one kernel call."""

    id: int
    name: str
    groups: tuple[int, ...] = ()
    reads: int = 0
    writes: int = 0
    flops: int = 0
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Transfer:
    """Memory of the device ``source`` that the plan reads as leaf ``node``.

    Copied before launch ``before`` (one past the last where none reads it), unless a copy lies
    there already.  ``bytes`` are the leaf's; a copy takes the whole buffer that it is in.
    """

    node: int
    source: str
    bytes: int
    before: int


@dataclass(frozen=True)
class PlanBuffer:
    """Memory of one node: live from launch ``first`` through launch ``last``, both included."""

    id: int
    node: int
    bytes: int
    first: int
    last: int
    storage: str
    offset: int = 0
    donor: int = -1


@dataclass(frozen=True)
class MemoryPlan:
    arena_bytes: int = 0
    output_bytes: int = 0
    input_bytes: int = 0
    peak_bytes: int = 0
    buffers: tuple[PlanBuffer, ...] = ()


@dataclass(frozen=True)
class Pass:
    name: str
    us: float
    changed: int = 0


@dataclass(frozen=True)
class PlanTraffic:
    """Bytes of one run: op by op, as planned, and the least possible."""

    unfused: int = 0
    fused: int = 0
    ideal: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """One plan.  ``raw`` is the engine's own description, kept whole for the file.

    Plans of one ``family`` are one graph in other sizes: same nodes, edges and groups.
    """

    id: int
    key: str
    device: str
    nodes: tuple[Node, ...]
    groups: tuple[Group, ...]
    edges: tuple[Edge, ...]
    launches: tuple[Launch, ...]
    memory: MemoryPlan
    passes: tuple[Pass, ...]
    traffic: PlanTraffic
    outcome: str
    transfers: tuple[Transfer, ...]
    family: int
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read a description.  ValueError names the plan, the part and what is missing."""
        if not isinstance(data, Mapping) or "plan" not in data:
            raise ValueError("plan description: no 'plan' field")
        where = f"plan {data['plan']}"
        return cls(
            id=int(data["plan"]),
            key=str(data.get("key", "")),
            device=str(data.get("device", "")),
            nodes=_rows(Node, data, "nodes", where),
            groups=_rows(Group, data, "groups", where),
            edges=_rows(Edge, data, "edges", where),
            launches=_rows(Launch, data, "launches", where),
            memory=_memory(data.get("memory", {}), where),
            passes=_rows(Pass, data, "passes", where),
            traffic=_build(PlanTraffic, data.get("traffic", {}), f"{where}: traffic"),
            outcome=str(data.get("outcome", "")),
            transfers=_rows(Transfer, data, "transfers", where),
            family=int(data.get("family", data["plan"])),
            raw=data,
        )

    @cached_property
    def node_by_id(self) -> Mapping[int, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def group_by_id(self) -> Mapping[int, Group]:
        return {group.id: group for group in self.groups}

    @cached_property
    def launch_by_id(self) -> Mapping[int, Launch]:
        return {launch.id: launch for launch in self.launches}

    @cached_property
    def consumers(self) -> Mapping[int, tuple[Node, ...]]:
        """Nodes that use each node's value, those behind views included, the views left out."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            sources = list(node.inputs)
            while sources and node.kind not in ("view", "alias"):
                source = self.node_by_id.get(sources.pop())
                if source is None:
                    continue
                if source.kind in ("view", "alias"):
                    sources += source.inputs
                found.setdefault(source.id, []).append(node)
        return {i: tuple(nodes) for i, nodes in found.items()}

    def kept_for_backward(self, node: Node, phase: Callable[[int], str]) -> bool:
        """Whether a value of the forward pass is read by the backward pass.

        phase: ``forward``, ``backward`` or nothing, of a node's id.
        """
        if phase(node.id) != "forward":
            return False
        return any(phase(user.id) == "backward" for user in self.consumers.get(node.id, ()))

    def launch_nodes(self, launch: int) -> tuple[int, ...]:
        """Ids of the nodes that a launch computes, in plan order; empty for an unknown launch."""
        found = self.launch_by_id.get(launch)
        if found is None:
            return ()
        groups = [self.group_by_id[g] for g in found.groups if g in self.group_by_id]
        return tuple(node for group in groups for node in group.nodes)


def _memory(data: Mapping[str, Any], where: str) -> MemoryPlan:
    buffers = _rows(PlanBuffer, data, "buffers", f"{where}: memory")
    plain = {name: value for name, value in data.items() if name != "buffers"}
    return _build(MemoryPlan, plain | {"buffers": buffers}, f"{where}: memory")


def _rows(cls: type[T], data: Mapping[str, Any], name: str, where: str) -> tuple[T, ...]:
    rows = data.get(name, ())
    if not isinstance(rows, list | tuple):
        raise ValueError(f"{where}: {name}: expected a list, got {type(rows).__name__}")
    try:
        return tuple([_build(cls, row, "") for row in rows])
    except ValueError:
        # Again, for the place of the row that is wrong.
        return tuple(_build(cls, row, f"{where}: {name}[{i}]") for i, row in enumerate(rows))


@cache
def _fields(cls: type) -> tuple[tuple[str, bool], ...]:
    """Name of each field, and whether it has to be there."""
    return tuple(
        (f.name, f.default is MISSING and f.default_factory is MISSING) for f in fields(cls)
    )


def _build(cls: type[T], row: Any, where: str) -> T:
    """Make one dataclass; unknown keys are skipped so that a newer engine's plans still open."""
    if type(row) is not dict and not isinstance(row, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(row).__name__}")
    values: dict[str, Any] = {}
    for name, required in _fields(cls):  # type: ignore[arg-type]
        if name in row:
            value = row[name]
            values[name] = tuple(value) if type(value) is list else value
        elif required:
            raise ValueError(f"{where}: no '{name}' field")
    return cls(**values)
