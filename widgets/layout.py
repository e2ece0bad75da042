"""Layered layout for the static picture: by Graphviz's ``dot`` where installed, else our own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Edge = tuple[int, int]
DOT_SECONDS = 10


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes in inches, y downwards, and the extent.

    ``routes`` has the control points of a cubic Bezier spline (1 + 3n) for each edge.
    """

    points: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def lay_out(sizes: Sequence[Point], edges: Sequence[Edge], engine: str = "auto") -> Layout:
    """Place boxes of ``sizes`` (inches) so that edges point down.

    engine: ``dot``, ``own``, or ``auto`` (dot where it is installed and answers in time).
    """
    if engine != "own" and sizes:
        found = _dot(sizes, edges)
        if found is not None:
            return found
        if engine == "dot":
            raise RuntimeError("lay_out: dot is not installed or failed")
    return _own(sizes, edges)


def _dot(sizes: Sequence[Point], edges: Sequence[Edge]) -> Layout | None:
    program = shutil.which("dot")
    if program is None:
        return None
    lines = [
        'digraph{graph[nodesep=0.15,ranksep=0.3];node[shape=box,fixedsize=true,label=""];edge[arrowhead=none];'
    ]
    lines += [f"{i}[width={w:.2f},height={h:.2f}];" for i, (w, h) in enumerate(sizes)]
    lines += [f"{a}->{b};" for a, b in edges if a != b]
    try:
        done = subprocess.run(
            [program, "-Tplain"],
            input="\n".join(lines) + "}",
            capture_output=True,
            text=True,
            timeout=DOT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    points: list[Point] = [(0.0, 0.0)] * len(sizes)
    splines: dict[Edge, list[tuple[Point, ...]]] = {}
    width = height = 0.0
    for line in done.stdout.splitlines():
        part = line.split()
        if part[0] == "graph":
            width, height = float(part[2]), float(part[3])
        elif part[0] == "node":
            points[int(part[1])] = (float(part[2]), height - float(part[3]))
        elif part[0] == "edge":
            xy = [float(v) for v in part[4 : 4 + 2 * int(part[3])]]
            spline = tuple((x, height - y) for x, y in zip(xy[::2], xy[1::2], strict=True))
            splines.setdefault((int(part[1]), int(part[2])), []).append(spline)
    routes = [splines[edge].pop() if splines.get(edge) else () for edge in edges]
    return Layout(tuple(points), tuple(routes), width, height)


def layers_of(count: int, edges: Sequence[Edge]) -> list[int]:
    """Longest path from the sources; edges that close a cycle are left out."""
    following: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        if a != b:
            following[a].append(b)
    layer = [0] * count
    state = [0] * count
    order: list[int] = []
    for root in range(count):
        if state[root]:
            continue
        stack = [(root, 0)]
        state[root] = 1
        while stack:
            node, at = stack.pop()
            if at == len(following[node]):
                state[node] = 2
                order.append(node)
                continue
            stack.append((node, at + 1))
            after = following[node][at]
            if state[after] == 0:
                state[after] = 1
                stack.append((after, 0))
    position = {node: i for i, node in enumerate(reversed(order))}
    for node in reversed(order):
        for after in following[node]:
            if position[after] > position[node]:
                layer[after] = max(layer[after], layer[node] + 1)
    return layer


def _own(sizes: Sequence[Point], edges: Sequence[Edge], gap: Point = (0.15, 0.3)) -> Layout:
    layer = layers_of(len(sizes), edges)
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for node, at in enumerate(layer):
        rows[at].append(node)
    around: list[list[int]] = [[] for _ in sizes]
    for a, b in edges:
        around[a].append(b)
        around[b].append(a)
    x = [0.0] * len(sizes)
    for row in rows:
        _pack(row, x, sizes, gap[0])
    for sweep in range(8):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            want = {
                n: sum(x[m] for m in around[n]) / len(around[n]) if around[n] else x[n] for n in row
            }
            row.sort(key=lambda n: (want[n], n))
            _pack(row, x, sizes, gap[0])
            shift = sum(want[n] - x[n] for n in row) / max(1, len(row))
            for n in row:
                x[n] += shift
    left = min((x[n] - sizes[n][0] / 2 for n in range(len(sizes))), default=0.0)
    right = max((x[n] + sizes[n][0] / 2 for n in range(len(sizes))), default=0.0)
    points: list[Point] = [(0.0, 0.0)] * len(sizes)
    top = 0.0
    for row in rows:
        tall = max((sizes[n][1] for n in row), default=0.0)
        for n in row:
            points[n] = (x[n] - left, top + tall / 2)
        top += tall + gap[1]
    routes = [_bend(points[a], points[b], sizes[a][1] / 2, sizes[b][1] / 2) for a, b in edges]
    return Layout(tuple(points), tuple(routes), right - left, max(0.0, top - gap[1]))


def _bend(start: Point, end: Point, below: float, above: float) -> tuple[Point, ...]:
    """From the bottom of one box to the top of the other, vertical at both ends."""
    (x0, y0), (x1, y1) = (start[0], start[1] + below), (end[0], end[1] - above)
    middle = (y0 + y1) / 2
    return ((x0, y0), (x0, middle), (x1, middle), (x1, y1))


def _pack(row: Sequence[int], x: list[float], sizes: Sequence[Point], gap: float) -> None:
    at = -sum(sizes[n][0] + gap for n in row) / 2
    for n in row:
        x[n] = at + sizes[n][0] / 2
        at += sizes[n][0] + gap
