"""The static summary of a recording: plain text, script-free HTML, and a page of its own.

Everything in it comes from ``lamina.workbench.analysis``; nothing here computes a figure.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from .analysis import (
    Compiled,
    Counters,
    Fusion,
    Kernels,
    KernelText,
    KernelTexts,
    Ledger,
    Memory,
    Timeline,
)
from .analysis import compiled as compiled_of
from .analysis import counters as counters_of
from .analysis import fusion as fusion_of
from .analysis import kernel_text as kernel_text_of
from .analysis import kernels as kernels_of
from .analysis import memory as memory_of
from .analysis import roofline as roofline_of
from .analysis import timeline as timeline_of
from .analysis import traffic as traffic_of
from .analysis.compiled import HEAD as COMPILED_HEAD
from .analysis.counters import HEAD, cells
from .analysis.once import once
from .analysis.table import format_bytes, format_ns, percent
from .analysis.transfers import HEAD as TRANSFERS_HEAD
from .analysis.transfers import LEFT as TRANSFERS_LEFT
from .recording import Lap, Recording

NOTHING = "nothing was evaluated: arrays are lazy, so call eval() or print a result in the cell"


@dataclass(frozen=True)
class Report:
    """The analyses that a summary shows.  Warm-up laps count for memory and compiling only."""

    recording: Recording

    @cached_property
    def timed(self) -> Recording:
        laps = [lap for lap in self.recording.laps if lap.kind == "timed"]
        return self.recording.between(laps[0].t0, laps[-1].t1) if laps else self.recording

    @cached_property
    def kernels(self) -> Kernels:
        return kernels_of(self.timed)

    @cached_property
    def kernel_text(self) -> KernelTexts:
        return kernel_text_of(self.recording)

    @cached_property
    def counters(self) -> Counters:
        return counters_of(self.timed)

    @cached_property
    def compiled(self) -> Compiled:
        return compiled_of(self.recording)

    @cached_property
    def traffic(self) -> Ledger:
        return traffic_of(self.timed)

    @cached_property
    def timeline(self) -> Timeline:
        return timeline_of(self.timed)

    @cached_property
    def fusion(self) -> Fusion:
        return fusion_of(self.timed)

    @cached_property
    def memory(self) -> Memory:
        return memory_of(self.recording)

    @cached_property
    def headline(self) -> str:
        launches = sum(len(run.launches) for run in self.timed.runs)
        copied = self.traffic.copied
        parts = [
            format_ns(self.timed.wall_ns),
            f"{len(self.timed.runs)} evaluations",
            f"{launches} launches",
            f"{format_bytes(self.traffic.as_run)} moved",
            *([f"{format_bytes(copied)} copied between devices"] if copied else []),
            f"peak {format_bytes(self.memory.peak.bytes)}",
        ]
        return ", ".join(parts)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the recording itself: repeats, failure, losses, its own cost."""
        r = self.recording
        notes = [laps_line(r.laps)] if r.laps else []
        if r.failure:
            message = f": {r.failure.message}" if r.failure.message else ""
            notes.append(f"ended by {r.failure.type}{message} (recorded up to there)")
        if r.dropped:
            notes.append(f"{r.dropped} events were dropped: sums below are too small")
        if r.missing_plans:
            notes.append(f"{len(r.missing_plans)} plans were forgotten before they were described")
        notes.append(overhead_line(r))
        return tuple(notes)


@once
def report_of(recording: Recording) -> Report:
    """The report of a recording; text and HTML share its analyses."""
    return Report(recording)


def overhead_line(recording: Recording) -> str:
    """``recording cost 1.8% of this run: 120 us of 6.7 ms``, and what followed the run."""
    own = recording.overhead
    cost, wall = own.total_ns, recording.wall_ns
    line = (
        f"recording cost {percent(cost, wall)} of this run: {format_ns(cost)} of {format_ns(wall)}"
    )
    if own.prepare_ns:
        line += f"; describing it took {format_ns(own.prepare_ns)} outside the run"
    return line


def laps_line(laps: Sequence[Lap]) -> str:
    """Times per loop of a repeated run, warm-up apart."""
    warm = [lap.ns_per_loop for lap in laps if lap.kind == "warmup"]
    timed = [lap for lap in laps if lap.kind == "timed"]
    parts = [f"warm-up {format_ns(warm[0])}"] if warm else []
    if timed:
        per_loop = [lap.ns_per_loop for lap in timed]
        parts.append(
            f"best of {len(timed)} x {timed[0].loops}: {format_ns(min(per_loop))} a loop "
            f"(median {format_ns(statistics.median(per_loop))})"
        )
    return ", ".join(parts)


def text(recording: Recording) -> str:
    """The summary as plain text, for terminals and for notebooks read without JavaScript."""
    report = report_of(recording)
    if not recording.runs:
        return "\n".join([f"profile: {format_ns(recording.wall_ns)}", NOTHING, *report.notes])
    parts = [f"profile: {report.headline}\n" + "\n".join(report.notes)]
    kernels = report.kernels.to_text(6)
    if report.kernel_text.rows:
        kernels += f"\n{report.kernel_text.line}"
    parts += [report.timeline.to_text(), kernels, report.traffic.to_text(5)]
    parts += [report.memory.to_text(6)]
    if report.compiled.rows:
        parts.append(report.compiled.to_text(6))
    if report.counters.rows:
        parts.append(f"counted by software Metal\n{report.counters.to_text(6)}")
    if recording.machine.ceilings:
        parts.append(roofline_of(report.timed).to_text(5))
    return "\n\n".join(parts)


STYLE = (
    "font:13px/1.45 system-ui,sans-serif;max-width:960px;border:1px solid rgba(128,128,128,.35);"
    "border-radius:6px;padding:10px 14px"
)
SOURCE = (
    "max-height:300px;overflow:auto;margin:2px 0 6px;padding:6px 8px;font-size:11px;"
    "line-height:1.45;white-space:pre;background:rgba(128,128,128,.12);color:inherit"
)
# Kernel text that a saved notebook keeps, in bytes of HTML; a file of its own may hold more.
MAX_TEXT = 100_000
MAX_TEXT_OF_A_PAGE = 4_000_000
BAR = "display:inline-block;height:.7em;width:{:.1f}%;background:{};border-radius:2px"
# Okabe-Ito blue, orange and green: distinct without colour vision, legible on light and dark.
COLORS = ("#0072b2", "#e69f00", "#009e73")


def html(recording: Recording, note: str = "", max_text: int = MAX_TEXT) -> str:
    """The summary as one HTML element without scripts or style sheets.

    max_text: most bytes for the text of kernels; what is left out is said.

    It inherits the page's colours, so it reads on light and dark themes and survives the
    sanitizers of notebook hosts.
    """
    report = report_of(recording)
    title = escape(recording.title or "profile")
    body = [f"<div style='font-weight:600'>{title}: {escape(report.headline)}</div>"]
    notes = [*report.notes, *([note] if note else [])]
    if recording.runs:
        body += [_paragraphs(notes), _traffic(report), _time(report), _kernels(report)]
        body += [
            _kernel_text(report.kernel_text, max_text),
            _compiled(report),
            _counters(report),
            _memory(report),
            _fusion(report),
        ]
    else:
        body = [f"<div style='font-weight:600'>{title}</div>", _paragraphs([NOTHING, *notes])]
    return f"<div style='{STYLE}'>{''.join(body)}</div>"


def page(recording: Recording) -> str:
    """The summary as a whole HTML page, light or dark as the reader's system is set."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{escape(recording.title or 'lamina profile')}</title><style>"
        ":root{color-scheme:light dark}body{margin:24px;background:#fff;color:#1b1b1b}"
        "@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e6}}"
        f"</style></head><body>{html(recording, max_text=MAX_TEXT_OF_A_PAGE)}</body></html>\n"
    )


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"<div style='opacity:.8'>{escape(line)}</div>" for line in lines)


def _section(title: str, content: str) -> str:
    return (
        "<details open style='margin-top:8px'><summary style='font-weight:600'>"
        f"{escape(title)}</summary>{content}</details>"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        aligned = (
            f"<{tag} style='text-align:{'left' if i in left else 'right'}'>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr style='background:none'>{''.join(aligned)}</tr>"

    lines = "".join(line(row, "td") for row in rows)
    return (
        "<table cellpadding='3' style='border-collapse:collapse;margin:4px 0;color:inherit;"
        "font-size:12px;font-variant-numeric:tabular-nums'>"
        f"<thead>{line(header, 'th')}</thead><tbody>{lines}</tbody></table>"
    )


def _bars(rows: Sequence[tuple[str, float, str]]) -> str:
    most = max((value for _, value, _ in rows), default=0) or 1
    lines = "".join(
        f"<div style='display:flex;gap:8px'><span style='width:10em'>{escape(name)}</span>"
        f"<span style='flex:1'><span style='{BAR.format(70 * value / most, COLORS[i % 3])}'>"
        f"</span> {escape(label)}</span></div>"
        for i, (name, value, label) in enumerate(rows)
    )
    return f"<div style='margin:4px 0;font-size:12px'>{lines}</div>"


def _traffic(report: Report) -> str:
    t = report.traffic
    rows = [
        (name, float(count), f"{format_bytes(count)} ({percent(count, t.unfused)})")
        for name, count in (
            ("op by op", t.unfused),
            ("as run", t.as_run),
            ("ideal", t.ideal),
            *([("between devices", t.copied)] if t.copied else []),
        )
    ]
    crossed = [row.cells() for row in t.transfers[:8]]
    table = _table(TRANSFERS_HEAD, crossed, left=TRANSFERS_LEFT) if crossed else ""
    return _section("Memory traffic", _bars(rows) + table)


def _time(report: Report) -> str:
    t = report.timeline.totals
    rows = [
        (name, float(ns), f"{format_ns(ns)} ({percent(ns, t.wall)})")
        for name, ns in (
            ("kernels", t.launch),
            ("rest of evaluation", t.evals - t.launch),
            ("Python and the rest", t.python),
        )
    ]
    counts = ", ".join(f"{n} {name}" for name, n in report.timeline.outcomes.items())
    return _section("Where time went", _bars(rows) + _paragraphs([f"plan cache: {counts}"]))


def _kernels(report: Report) -> str:
    table = report.kernels
    rows = [
        (
            row.name,
            str(row.count),
            format_ns(row.total_ns),
            percent(row.total_ns, table.total_ns),
            format_bytes(row.bytes),
            f"{row.gbs:.2f}",
            f"{row.gflops:.2f}",
            row.where,
        )
        for row in table.rows[:8]
    ]
    head = ("kernel", "count", "total", "share", "bytes", "GB/s", "GFLOP/s", "line")
    content = _table(head, rows, left=(0, 7)) + _paragraphs([table.clocks])
    return _section("Top kernels", content)


def _kernel_text(table: KernelTexts, room: int) -> str:
    """Each text once, below the first group that has it, until ``room`` is used up."""
    if not table.rows:
        return ""
    shown: set[int] = set()
    rows: list[str] = []
    left: set[int] = set()
    for row in table.rows:
        fresh = [at for _, at in row.sources if at not in shown | left]
        if not fresh:
            continue
        element = _source(row, table, fresh)
        if (size := len(element.encode())) > room:
            left.update(fresh)
            continue
        room -= size
        rows.append(element)
        shown.update(fresh)
    notes = [table.line]
    if left:
        bytes_left = format_bytes(sum(len(table.texts[at].encode()) for at in left))
        notes.append(
            f"{len(left)} of {len(table.texts)} texts ({bytes_left}) are left out here; the view "
            "of a running kernel and analysis.kernel_text(recording).texts have them"
        )
    return _section("Kernel text", _paragraphs(notes) + "".join(rows))


def _source(row: KernelText, table: KernelTexts, fresh: Sequence[int]) -> str:
    about = ", ".join(part for part in (row.device, row.dialect, row.compiled) if part)
    parts = []
    for title, at in row.sources:
        if len(row.sources) > 1:
            again = "" if at in fresh else " (its text is above)"
            parts.append(f"<div style='opacity:.8'>{escape(title)}{again}</div>")
        if at in fresh:
            parts.append(f"<pre style='{SOURCE}'>{escape(table.texts[at], quote=False)}</pre>")
    return (
        f"<details><summary>{escape(row.name)} <span style='opacity:.8'>{escape(about)}, "
        f"{format_bytes(row.bytes)}</span></summary>{''.join(parts)}</details>"
    )


def _compiled(report: Report) -> str:
    rows = report.compiled.cells(8)
    return (
        _section("Compiled functions", _table(COMPILED_HEAD, rows, left=(0, 4, 5))) if rows else ""
    )


def _counters(report: Report) -> str:
    rows = [cells(row) for row in report.counters.rows[:8]]
    return _section("Counted by software Metal", _table(HEAD, rows, left=(0,))) if rows else ""


def _memory(report: Report) -> str:
    peak = report.memory.peak
    rows = [
        (
            f"{part.title}{f' (x{count})' if count > 1 else ''}",
            format_bytes(part.bytes),
            part.category,
            part.where,
            part.module,
            part.note,
        )
        for part, count in peak.grouped()[:8]
    ]
    shares = ", ".join(f"{name} {format_bytes(n)}" for name, n in peak.by_category.items())
    head = ("buffer of", "bytes", "category", "line", "module", "")
    table = _table(head, rows, left=(0, 2, 3, 4, 5))
    title = f"Memory peak: {format_bytes(peak.bytes)}"
    return _section(title, _paragraphs([shares]) + table)


def _fusion(report: Report) -> str:
    rows = [
        (edge.pair, format_bytes(edge.total_bytes), edge.sentence, edge.where)
        for edge in report.fusion.unfused[:6]
        if edge.total_bytes
    ]
    if not rows:
        return ""
    head = ("edge", "cost", "why it was not fused", "line")
    return _section("Dearest unfused edges", _table(head, rows, left=(0, 2, 3)))
