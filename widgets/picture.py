"""Draws the static picture: fusion graph, memory and timeline of a recording, with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from PIL import Image

from .layout import lay_out

if TYPE_CHECKING:
    from lamina.workbench.plan import Plan
    from lamina.workbench.recording import Recording

GROUND = "#f4f4f1"
INK = "#1c1c1c"
DIM = "#606060"
EDGE = "#B35900"
KIND_COLOR = {"map": "#56B4E9", "reduce": "#E69F00", "row": "#F0E442", "call": "#0072B2"}
CATEGORY_COLOR = {
    "parameter": "#009E73",
    "gradient": "#E69F00",
    "optimizer state": "#CC79A7",
    "activation": "#0072B2",
    "input data": "#F0E442",
    "arena": "#56B4E9",
    "output": "#D55E00",
}
HATCH = {
    "gradient": "//",
    "optimizer state": "\\\\",
    "input data": "..",
    "arena": "//",
    "output": "xx",
}
STACK = (
    "before the recording", "parameter", "optimizer state", "input data",
    "gradient", "output", "activation", "arena", "temporary",
)  # fmt: skip
MAX_BOXES = 40
# Inches for a graph beside the charts and above them, and the scale below which labels blur.
BESIDE = (4.6, 8.4)
ABOVE = (9.6, 16.0)
LEGIBLE = 0.8


@dataclass(frozen=True)
class Box:
    label: str
    detail: str
    color: str


def draw(recording: Recording, view: str, max_bytes: int) -> bytes:
    """PNG of at most ``max_bytes``: the resolution gives way."""
    with matplotlib.rc_context(
        {"font.size": 8, "font.family": "DejaVu Sans", "path.simplify": True}
    ):
        figure = _figure(recording, view)
        data = b""
        for dpi in (100, 80, 64, 50, 36):
            data = _png(figure, dpi)
            if len(data) <= max_bytes:
                break
    return data


def _png(figure: Figure, dpi: int) -> bytes:
    figure.dpi = dpi
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    # Few flat colours: a palette holds them at a third of the size.
    image.quantize(64, dither=Image.Dither.NONE).save(out, format="png", optimize=True)
    return out.getvalue()


def _figure(recording: Recording, view: str) -> Figure:
    """Axes at fixed places: matplotlib's own layout engines take longer than all the drawing."""
    parts = ["graph", "memory", "latency"] if view == "profile" else [view]
    graph: Any = _graph_of(recording) if "graph" in parts else None
    charts = [part for part in parts if part != "graph"]
    tall = 3.0 * max(1, len(charts)) if charts else 4.0
    if graph is not None and charts and _room(graph[1], BESIDE) < LEGIBLE:
        return _stacked(recording, graph, charts)
    if graph is not None:
        tall = min(9.0, max(tall, graph[1].height * 0.8 + 0.6))
    figure = Figure(figsize=(10, tall), facecolor=GROUND)
    if graph is not None:
        width = 0.44 if charts else 0.98
        axis = figure.add_axes((0.01, 0.01, width, 0.98 - 0.45 / tall))
        _draw_graph(axis, graph, _room(graph[1], BESIDE))
    left = 0.6 if graph is not None else 0.12
    for i, part in enumerate(charts):
        share = 1 / len(charts)
        bottom = 1 - (i + 1) * share + (0.16 if part == "latency" else 0.14) * share
        draw_part = _draw_memory if part == "memory" else _draw_latency
        draw_part(figure.add_axes((left, bottom, 0.98 - left, share * 0.75)), recording)
    return figure


def _room(layout: Any, room: tuple[float, float]) -> float:
    """How far a layout has to shrink to fit a width and a height in inches."""
    width, height = room
    return min(1.0, width / max(layout.width, 0.1), height / max(layout.height, 0.1))


def _stacked(recording: Recording, graph: Any, charts: Sequence[str]) -> Figure:
    """A graph too large for half the picture stands above the charts, over the whole width."""
    scale = _room(graph[1], ABOVE)
    graph_tall, chart_tall = graph[1].height * scale + 0.6, 3.2
    tall = graph_tall + chart_tall
    figure = Figure(figsize=(10, tall), facecolor=GROUND)
    axis = figure.add_axes((0.01, chart_tall / tall, 0.98, (graph_tall - 0.5) / tall))
    _draw_graph(axis, graph, scale)
    for i, part in enumerate(charts):
        share = 1 / len(charts)
        margin = 0.05 if part == "memory" else 0.17
        place = (i * share + margin, 0.55 / tall, share - margin - 0.02, 2.2 / tall)
        draw_part = _draw_memory if part == "memory" else _draw_latency
        draw_part(figure.add_axes(place), recording)
    return figure


def busiest_plan(recording: Recording) -> Plan | None:
    """The plan to begin with: a training step runs often, setting up runs once."""
    counts = recording.run_count
    plans = [recording.plans[i] for i in counts if i in recording.plans]
    return max(plans, key=lambda p: len(p.groups) * min(10, counts[p.id]), default=None)


def _graph_of(recording: Recording) -> tuple[Any, ...] | None:
    plan = busiest_plan(recording)
    if plan is None or not plan.groups:
        return None
    boxes, key_of = _kernel_boxes(plan)
    if len(boxes) > MAX_BOXES:
        boxes, key_of = _module_boxes(recording, plan)
    names = list(boxes)
    number = {name: i for i, name in enumerate(names)}
    cost: dict[tuple[int, int], int] = {}
    for edge in plan.edges:
        a, b = key_of.get(edge.src), key_of.get(edge.dst)
        if a is None or b is None or a == b or edge.fused:
            continue
        pair = (number[a], number[b])
        cost[pair] = cost.get(pair, 0) + edge.bytes
    shown = [boxes[name] for name in names]
    sizes = [(max(0.9, 0.088 * max(len(box.label), len(box.detail)) + 0.2), 0.42) for box in shown]
    layout = lay_out(sizes, list(cost))
    title = f"plan {plan.id}: {len(plan.nodes)} operations in {len(plan.launches)} launches"
    return shown, layout, sizes, cost, title


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _kernel_boxes(plan: Plan) -> tuple[dict[Any, Box], dict[int, Any]]:
    from lamina.workbench.analysis.table import format_bytes

    boxes = {}
    for group in plan.groups:
        label = group.label if len(group.label) <= 24 else group.label[:23] + "…"
        detail = f"{_counted(len(group.nodes), 'op')}, {format_bytes(group.reads + group.writes)}"
        boxes[group.id] = Box(label, detail, KIND_COLOR.get(group.kind, "#999999"))
    return boxes, {node.id: node.group for node in plan.nodes if node.group is not None}


def _module_boxes(recording: Recording, plan: Plan) -> tuple[dict[Any, Box], dict[int, Any]]:
    """Kernels merged by module path; the path is cut until few enough boxes are left."""
    for depth in (3, 2, 1, 0):
        key_of: dict[int, Any] = {}
        kernels: dict[Any, set[int]] = {}
        for node in plan.nodes:
            if node.group is None:
                continue
            origin = recording.origin(plan.id, node.id)
            path = ".".join((origin.module if origin else "").split(".")[:depth])
            phase = origin.phase if origin else ""
            key = (phase, path or (origin.function if origin else ""))
            key_of[node.id] = key
            kernels.setdefault(key, set()).add(node.group)
        if len(kernels) <= MAX_BOXES or depth == 0:
            break
    boxes: dict[Any, Box] = {}
    for key, groups in kernels.items():
        phase, path = key
        mark = "∂ " if phase == "backward" else ""
        color = "#E69F00" if phase == "backward" else "#56B4E9"
        boxes[key] = Box(f"{mark}{path or 'other'}"[:26], _counted(len(groups), "kernel"), color)
    return boxes, key_of


def _draw_graph(axis: Any, graph: Any, scale: float) -> None:
    """Text shrinks with the drawing, or labels run over."""
    boxes, layout, sizes, cost, title = graph
    axis.set_axis_off()
    axis.set_title(f"What is not fused costs memory traffic\n{title}", color=INK, fontsize=9)
    axis.set_xlim(-0.1, layout.width + 0.1)
    axis.set_ylim(layout.height + 0.1, -0.1)
    axis.set_aspect("equal", anchor="N")
    for pair, route in zip(cost, layout.routes, strict=True):
        _draw_edge(axis, route, cost[pair], scale)
    for box, (x, y), (w, h) in zip(boxes, layout.points, sizes, strict=True):
        fill = _tint(box.color)
        style = "round,pad=0,rounding_size=0.06"
        patch = FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, style, fc=fill, ec=box.color, lw=0.9, zorder=2
        )
        axis.add_patch(patch)
        text = {"ha": "center", "va": "center", "zorder": 3}
        axis.text(x, y - 0.07, box.label, fontsize=9.5 * scale, color=INK, **text)
        axis.text(x, y + 0.11, box.detail, fontsize=8 * scale, color=DIM, **text)


def _draw_edge(axis: Any, route: Sequence[tuple[float, float]], count: int, scale: float) -> None:
    """Heavier with its bytes, behind the boxes, a head at its end."""
    if len(route) < 4:
        return
    codes = [Path.MOVETO] + [Path.CURVE4] * (len(route) - 1)
    width = (0.7 + min(2.2, np.log10(max(count, 1)) / 4)) * scale
    style = {"fc": "none", "ec": EDGE, "lw": width, "ls": (0, (4, 2)), "zorder": 1}
    axis.add_patch(PathPatch(Path(route, codes), **style))
    (x0, y0), (x1, y1) = route[-2], route[-1]
    length = float(np.hypot(x1 - x0, y1 - y0)) or 1.0
    dx, dy = 0.09 * (x1 - x0) / length, 0.09 * (y1 - y0) / length
    head = [(x1, y1), (x1 - dx - dy / 2, y1 - dy + dx / 2), (x1 - dx + dy / 2, y1 - dy - dx / 2)]
    axis.add_patch(Polygon(head, fc=EDGE, ec="none", zorder=1))


def _tint(color: str) -> tuple[float, ...]:
    """A light shade of ``color``, opaque so that edges pass behind."""
    base = np.array(matplotlib.colors.to_rgb(GROUND))
    return tuple(base * 0.72 + np.array(matplotlib.colors.to_rgb(color)) * 0.28)


def _style(axis: Any) -> None:
    axis.set_facecolor(GROUND)
    axis.tick_params(colors=DIM, labelsize=7)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#a0a0a0")


def _draw_memory(axis: Any, recording: Recording) -> None:
    from lamina.workbench import analysis
    from lamina.workbench.analysis.table import format_bytes

    from .facts import thin

    _style(axis)
    memory = analysis.memory(recording)
    peak = memory.peak
    axis.set_title(f"Live memory, peak {format_bytes(peak.bytes)}", color=INK, fontsize=9)
    rows = thin(memory.t, memory.active, 1500)
    t = (memory.t[rows] - recording.window[0]) / 1e6
    names = sorted(memory.by_category, key=lambda n: STACK.index(n) if n in STACK else -1)
    base = np.zeros(len(rows))
    for name in names:
        upper = base + memory.by_category[name][rows] / 1e6
        axis.fill_between(
            t, base, upper, step="post", lw=0.5, label=name, hatch=HATCH.get(name),
            fc=matplotlib.colors.to_rgba(CATEGORY_COLOR.get(name, "#999999"), 0.55), ec="#404040",
        )  # fmt: skip
        base = upper
    axis.axhline(peak.bytes / 1e6, color=INK, lw=0.8, ls=":")
    axis.set_xlabel("ms", color=DIM)
    axis.set_ylabel("MB", color=DIM)
    if names:
        axis.set_ylim(top=1.35 * peak.bytes / 1e6)  # the legend stands above the curve
        axis.legend(fontsize=6.5, frameon=False, ncols=4, loc="upper left")


def _draw_latency(axis: Any, recording: Recording) -> None:
    from lamina.workbench import analysis
    from lamina.workbench.analysis.table import format_ns

    _style(axis)
    kernels = analysis.kernels(recording)
    axis.set_title(f"Kernels by time, {format_ns(kernels.total_ns)} in all", color=INK, fontsize=9)
    top = kernels.rows[:10]
    if not top:
        axis.set_axis_off()
        return
    y = np.arange(len(top))
    axis.barh(y, [row.total_ns / 1e6 for row in top], color="#56B4E9", ec="#0072B2", lw=0.6)
    ceilings = recording.machine.ceilings
    for at, row in zip(y, top, strict=True):
        share = f", {100 * row.gbs / ceilings.bandwidth_gbs:.0f}% of peak" if ceilings else ""
        note = f" {row.count} x, {row.gbs:.1f} GB/s{share}"
        axis.text(row.total_ns / 1e6, at, note, va="center", fontsize=6.5, color=DIM)
    names = [row.name if len(row.name) <= 22 else row.name[:21] + "…" for row in top]
    axis.set_yticks(y, names)
    axis.invert_yaxis()
    axis.set_xlim(0, max(row.total_ns for row in top) / 1e6 * 1.6)
    axis.set_xlabel("ms", color=DIM)
