"""Recordings of a training step that never ran: what the views must show, without the engine."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from lamina.workbench.plan import Plan
from lamina.workbench.recording import (
    EVENT_DTYPE,
    Ceilings,
    Machine,
    MemoryState,
    Origin,
    Overhead,
    Recording,
)

REASONS = {
    "several_consumers": "Several kernels read this value: computing it again would cost more.",
    "kept_for_user": "The program keeps this array, so it must exist in memory.",
    "reduction_barrier": "The reduction must be finished before its result can be used.",
    "opaque_call": "The producer is a library call that writes its result to memory.",
    "input_of_call": "The consumer is a library call that reads its input from memory.",
    "leaf_input": "The value was in memory before this evaluation began.",
}
TEMPORARY, PARAMETER, GRADIENT, OPTIMIZER, ACTIVATION, INPUT, ARENA, OUTPUT = range(8)


class Net:
    """Builds the plan of a convolutional net's training step, node by node."""

    def __init__(self, blocks: int = 3, batch: int = 64) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.origin_ids: list[int] = []
        self.origins: dict[int, Origin] = {}
        self.module = ""
        self.phase = "forward"
        self.line = 10
        self._tape: list[tuple[str, str, int, list[int], list[int]]] = []
        self._build(blocks, batch)

    def node(self, op: str, kind: str, inputs: list[int], shape: list[int], **more: Any) -> int:
        size = 4 * int(np.prod(shape))
        row = {
            "id": len(self.nodes), "op": op, "kind": kind, "params": more.pop("params", {}),
            "inputs": inputs, "shape": shape, "dtype": "float32", "bytes": size,
            "flops": 0 if kind in ("leaf", "view") else size // 4, "group": None,
            "role": "interior", "category": TEMPORARY, **more,
        }  # fmt: skip
        self.nodes.append(row)
        key = (self.module, self.phase, self.line)
        same = [o.id for o in self.origins.values() if (o.module, o.phase, o.line) == key]
        id_ = same[0] if same else len(self.origins) + 1
        if not same:
            self.origins[id_] = Origin(id_, "/home/ada/digits.py", self.line, "step", *key[:2])
        self.origin_ids.append(0 if kind == "leaf" else id_)
        return row["id"]

    def leaf(self, op: str, shape: list[int], category: int = PARAMETER) -> int:
        return self.node(op, "leaf", [], shape, role="leaf", category=category)

    def group(self, kind: str, nodes: list[int], label: str = "") -> None:
        id_ = len(self.groups)
        ops = [self.nodes[n]["op"] for n in nodes]
        for n in nodes:
            self.nodes[n]["group"] = id_
        inside = set(nodes)
        reads = sum(
            self.nodes[i]["bytes"]
            for n in nodes
            for i in self.nodes[n]["inputs"]
            if i not in inside
        )
        program = "\n".join(
            f"r{i} = {op} " + ", ".join(f"r{k}" for k in range(max(0, i - 2), i))
            for i, op in enumerate(["load", *ops, "store"])
        )
        self.groups.append({
            "id": id_, "kind": kind, "label": label or "+".join(dict.fromkeys(ops)), "nodes": nodes,
            "launch": id_, "reads": reads, "writes": self.nodes[nodes[-1]]["bytes"],
            "flops": sum(self.nodes[n]["flops"] for n in nodes), "scratch": 0, "program": program,
        })  # fmt: skip

    def _build(self, blocks: int, batch: int) -> None:
        x = self.leaf("images", [batch, 1, 28, 28], INPUT)
        side, channels = 28, 1
        params: list[tuple[int, int]] = []
        saved: list[tuple[str, int, int, int, list[int]]] = []
        for block in range(blocks):
            self.module, self.line = f"layers.{2 * block}", 20 + block
            out = 16 * min(4, block + 1)
            w = self.leaf("weight", [out, channels, 3, 3])
            b = self.leaf("bias", [out])
            y = self.node("convolution", "structured", [x, w], [batch, out, side, side])
            self.group("call", [y])
            self.nodes[y]["category"] = ACTIVATION
            wide = self.node("broadcast_to", "view", [b], [batch, out, side, side])
            z = self.node("add", "elementwise", [y, wide], [batch, out, side, side])
            self.module, self.line = f"layers.{2 * block + 1}", 40 + block
            r = self.node("maximum", "elementwise", [z], [batch, out, side, side])
            self.nodes[r]["category"] = ACTIVATION
            nodes = [z, r]
            if side > 7:
                side //= 2
                split = self.node("reshape", "view", [r], [batch, out, side, 2, side, 2])
                p = self.node(
                    "max", "reduce", [split], [batch, out, side, side], params={"axes": [3, 5]}
                )
                self.group("map", nodes)
                self.group("reduce", [p])
                x_next = p
            else:
                self.group("map", nodes)
                x_next = r
            saved.append((self.module, x, r, w, [b]))
            params += [(w, block), (b, block)]
            x, channels = x_next, out
        self.module, self.line = "head", 60
        flat = self.node("reshape", "view", [x], [batch, channels * side * side])
        w = self.leaf("weight", [10, channels * side * side])
        logits = self.node("matmul", "structured", [flat, w], [batch, 10])
        self.group("call", [logits])
        params.append((w, blocks))
        self.module, self.line = "", 71
        labels = self.leaf("labels", [batch], INPUT)
        top = self.node("max", "reduce", [logits], [batch, 1])
        shifted = self.node("subtract", "elementwise", [logits, top], [batch, 10])
        exp = self.node("exp", "elementwise", [shifted], [batch, 10])
        total = self.node("sum", "reduce", [exp], [batch, 1])
        log = self.node("log", "elementwise", [total], [batch, 1])
        picked = self.node("take_along_axis", "structured", [shifted, labels], [batch, 1])
        each = self.node("subtract", "elementwise", [log, picked], [batch, 1])
        loss = self.node("mean", "reduce", [each], [1], role="output", category=OUTPUT)
        self.group("row", [top, shifted, exp, total, log], "softmax row")
        self.group("call", [picked])
        self.group("reduce", [each, loss])
        self._backward(saved, params, exp, total, flat, logits, batch)

    def _backward(
        self, saved: Any, params: Any, exp: int, total: int, flat: int, logits: int, batch: int
    ) -> None:
        self.phase = "backward"
        self.line = 71
        soft = self.node("divide", "elementwise", [exp, total], [batch, 10])
        g = self.node("subtract", "elementwise", [soft, logits], [batch, 10])
        self.group("map", [soft, g])
        self.module, self.line = "head", 60
        grads: dict[int, int] = {}
        wt = params[-1][0]
        grads[wt] = self.node(
            "matmul", "structured", [g, flat], self.nodes[wt]["shape"], category=GRADIENT
        )
        self.group("call", [grads[wt]])
        dx = self.node("matmul", "structured", [g, wt], self.nodes[flat]["shape"])
        self.group("call", [dx])
        for i, (module, x, r, w, (b,)) in enumerate(reversed(saved)):
            self.module, self.line = module, 40 + len(saved) - 1 - i
            shape = self.nodes[r]["shape"]
            back = self.node("reshape", "view", [dx], shape)
            mask = self.node("greater", "elementwise", [r], shape)
            d = self.node("multiply", "elementwise", [mask, back], shape)
            self.group("map", [mask, d])
            self.module, self.line = f"layers.{2 * (len(saved) - 1 - i)}", 20 + len(saved) - 1 - i
            grads[b] = self.node("sum", "reduce", [d], self.nodes[b]["shape"], category=GRADIENT)
            self.group("reduce", [grads[b]])
            grads[w] = self.node(
                "convolution_weight",
                "structured",
                [d, x],
                self.nodes[w]["shape"],
                category=GRADIENT,
            )
            self.group("call", [grads[w]])
            if i + 1 < len(saved):
                dx = self.node("convolution_input", "structured", [d, w], self.nodes[x]["shape"])
                self.group("call", [dx])
        self.phase, self.module = "", "optimizer"
        for start in range(0, len(params), 2):
            chunk: list[int] = []
            for w, _ in params[start : start + 2]:
                self.line = 90
                shape = self.nodes[w]["shape"]
                m, v = (self.leaf(name, shape, OPTIMIZER) for name in ("momentum", "variance"))
                m2 = self.node("multiply", "elementwise", [m], shape)
                m3 = self.node(
                    "add", "elementwise", [m2, grads[w]], shape, role="output", category=OPTIMIZER
                )
                self.line = 91
                g2 = self.node("square", "elementwise", [grads[w]], shape)
                v2 = self.node("multiply", "elementwise", [v], shape)
                v3 = self.node(
                    "add", "elementwise", [v2, g2], shape, role="output", category=OPTIMIZER
                )
                self.line = 92
                root = self.node("sqrt", "elementwise", [v3], shape)
                step = self.node("divide", "elementwise", [m3, root], shape)
                new = self.node(
                    "subtract", "elementwise", [w, step], shape, role="output", category=PARAMETER
                )
                chunk += [m2, m3, g2, v2, v3, root, step, new]
            self.group("map", chunk, f"adam x{len(chunk) // 8}")

    def description(self, plan: int = 1) -> dict[str, Any]:
        """The plan as ``_plan_describe`` would give it."""
        by_id = {n["id"]: n for n in self.nodes}
        users = Counter(i for n in self.nodes for i in set(n["inputs"]))
        edges = []
        for n in self.nodes:
            if n["kind"] == "view":
                continue
            for i in n["inputs"]:
                via = []
                while by_id[i]["kind"] == "view":
                    via.append(i)
                    i = by_id[i]["inputs"][0]
                edges.append(self._edge(by_id[i], n, via[::-1], users[i]))
        cost = sum(g["reads"] + g["writes"] for g in self.groups)
        saved = sum(e["bytes"] for e in edges if e["fused"])
        launches = [
            {
                "id": g["id"], "groups": [g["id"]], "name": f"{g['kind']} {g['label']}",
                "reads": g["reads"], "writes": g["writes"], "flops": g["flops"],
                "inputs": [], "outputs": [g["nodes"][-1]],
            }
            for g in self.groups
        ]  # fmt: skip
        return {
            "plan": plan, "key": f"{plan:032x}", "device": "cpu", "nodes": self.nodes,
            "groups": self.groups, "edges": edges, "launches": launches, "memory": self._memory(),
            "passes": [{"name": "fuse", "us": 88.0, "changed": 40}],
            "traffic": {"unfused": cost + saved, "fused": cost, "ideal": int(cost * 0.8)},
            "outcome": "miss",
        }  # fmt: skip

    def _edge(
        self, a: dict[str, Any], b: dict[str, Any], via: list[int], users: int
    ) -> dict[str, Any]:
        fused = a["group"] is not None and a["group"] == b["group"]
        reason = ""
        if not fused:
            if a["kind"] == "leaf":
                reason = "leaf_input"
            elif a["kind"] == "structured":
                reason = "opaque_call"
            elif b["kind"] == "structured":
                reason = "input_of_call"
            elif a["kind"] == "reduce":
                reason = "reduction_barrier"
            elif a["role"] == "output":
                reason = "kept_for_user"
            else:
                reason = "several_consumers" if users > 1 else "reduction_barrier"
        size = a["bytes"] if reason == "leaf_input" else 2 * a["bytes"]
        return {
            "src": a["id"],
            "dst": b["id"],
            "fused": fused,
            "reason": reason,
            "bytes": size,
            "via": via,
        }

    def _memory(self) -> dict[str, Any]:
        buffers: list[dict[str, Any]] = []
        offset = 0
        read_last: dict[int, int] = {}
        for g in self.groups:
            for i in {i for n in g["nodes"] for i in self._real_inputs(n)}:
                read_last[i] = max(read_last.get(i, 0), g["launch"])
        for g in self.groups:
            node = self.nodes[g["nodes"][-1]]
            if node["role"] == "output":
                continue
            last = read_last.get(node["id"], g["launch"])
            free = [b for b in buffers if b["last"] < g["launch"] and b["bytes"] >= node["bytes"]]
            place = free[0]["offset"] if free else offset
            buffers.append({
                "id": len(buffers), "node": node["id"], "offset": place, "bytes": node["bytes"],
                "first": g["launch"], "last": last, "storage": "arena", "donor": -1,
            })  # fmt: skip
            offset = max(offset, place + node["bytes"])
        out = sum(n["bytes"] for n in self.nodes if n["role"] == "output")
        leaves = sum(n["bytes"] for n in self.nodes if n["kind"] == "leaf")
        return {"arena_bytes": offset, "output_bytes": out, "input_bytes": leaves,
                "peak_bytes": offset + out + leaves, "buffers": buffers}  # fmt: skip

    def _real_inputs(self, node: int) -> set[int]:
        found = set()
        for i in self.nodes[node]["inputs"]:
            while self.nodes[i]["kind"] == "view":
                i = self.nodes[i]["inputs"][0]
            found.add(i)
        return found


def step_events(
    plan: dict[str, Any], run: int, t: int, rng: np.random.Generator, state: dict[str, Any]
) -> tuple[list[tuple[int, ...]], int]:
    """Records of one training step that begins at ``t``; returns them and the end."""
    rows: list[tuple[int, ...]] = []
    begin = t
    if run == 1:
        for node in plan["nodes"]:
            if node["kind"] == "leaf":
                state["next"] += 1
                rows.append((4, 0, 0, t, t, state["next"], node["bytes"], node["category"], -1))
        t += 400_000
        begin = t
        rows.append((2, 0, run, t + 2000, t + 900_000, plan["plan"], len(plan["nodes"]), 0, 0))
        t += 900_000
    state["next"] += 1
    arena = state["next"]
    rows.append((4, 0, run, t, t, arena, plan["memory"]["arena_bytes"], ARENA, -1))
    t += 3000
    made = []
    for launch in plan["launches"]:
        moved = launch["reads"] + launch["writes"]
        took = int(1500 + moved / 20 * rng.uniform(0.9, 1.3))
        for node in plan["groups"][launch["id"]]["nodes"]:
            row = plan["nodes"][node]
            if row["role"] == "output":
                state["next"] += 1
                made.append(state["next"])
                rows.append((4, 0, run, t, t, made[-1], row["bytes"], row["category"], node))
        rows.append(
            (3, 0, run, t, t + took, plan["plan"], launch["id"], launch["reads"], launch["writes"])
        )
        t += took + 700
    rows.append((5, 0, run, t, t, arena, plan["memory"]["arena_bytes"], 0, 0))
    for old, size in state["old"]:
        rows.append((5, 0, run, t, t, old, size, 0, 0))
    sizes = {r[5]: r[6] for r in rows if r[0] == 4}
    state["old"] = [(b, sizes[b]) for b in made]
    rows.append(
        (1, 0, run, begin, t + 1000, plan["plan"], 2 if run == 1 else 0, len(plan["nodes"]), 1)
    )
    rows.append((10, 0, run, t, t, 9000, 0, 0, 0))
    return rows, t + 150_000


def recording(steps: int = 12, blocks: int = 3, seed: int = 0) -> Recording:
    """A finished recording of ``steps`` training steps."""
    net = Net(blocks)
    plan = net.description()
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {"next": 100, "old": []}
    rows: list[tuple[int, ...]] = []
    t0 = t = 1_000_000_000
    for run in range(1, steps + 1):
        more, t = step_events(plan, run, t, rng, state)
        rows += more
    return Recording(
        events=np.array(rows, EVENT_DTYPE),
        window=(t0, t),
        plans={plan["plan"]: Plan.from_json(plan)},
        origins=net.origins,
        origin_lists={1: np.array(net.origin_ids)},
        reasons=REASONS,
        machine=Machine("avx2", 2, "a processor", ceilings=Ceilings(40.0, 150.0, 200.0)),
        memory_start=MemoryState(),
        overhead=Overhead(9000 * steps, 50_000),
        title="training step",
    )


def big_plan(count: int = 10_000, seed: int = 1) -> dict[str, Any]:
    """A deep plan of ``count`` nodes in groups of five, for scale."""
    net = Net.__new__(Net)
    net.nodes, net.groups, net.origin_ids, net.origins = [], [], [], {}
    net.module, net.phase, net.line = "", "forward", 1
    rng = np.random.default_rng(seed)
    x = net.leaf("x", [64, 64], INPUT)
    pending: list[int] = []
    for i in range(count - 1):
        net.module = f"blocks.{i // 250}.{'attn' if i % 250 < 120 else 'mlp'}"
        far = int(rng.integers(max(0, x - 40), x + 1))
        x = net.node("add" if i % 3 else "tanh", "elementwise", [x, far], [64, 64])
        net.origin_ids[-1] = 0
        pending.append(x)
        if len(pending) == 5:
            net.group("map", pending)
            pending = []
    if pending:
        net.group("map", pending)
    net.nodes[x]["role"] = "output"
    plan = net.description(2)
    plan["memory"]["buffers"] = plan["memory"]["buffers"][:500]
    return plan
