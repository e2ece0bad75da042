"""``with lamina.profile()``, the recorder's pump and sink, the ceilings, exports and reports."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from builder import ReplayEngine, columns, plan_json, recording
from lamina.workbench import ceilings as ceilings_module
from lamina.workbench import profile, recorder, to_dot
from lamina.workbench.plan import Plan
from lamina.workbench.recording import Ceilings, Failure, Machine, Overhead, Recording
from lamina.workbench.report import html, overhead_line, page


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ReplayEngine:
    fake = ReplayEngine()
    monkeypatch.setattr(recorder, "engine", lambda: fake)
    monkeypatch.setattr(recorder, "ceilings", lambda measure_if_missing=True: None)
    return fake


class Sink:
    """A live view that writes down what it is sent."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.rows = 0
        self.finished: Recording | None = None

    def begin(self, recorder: Any) -> None:
        self.calls.append("begin")

    def plan(self, description: Any) -> None:
        self.calls.append(f"plan {description['plan']}")

    def origins(self, list_id: int, ids: Any, table: Any) -> None:
        self.calls.append(f"origins {list_id} {sorted(table)}")

    def events(self, events: Any, dropped: int) -> None:
        self.calls.append("events")
        self.rows += len(events)

    def tick(self) -> None:
        self.calls.append("tick")

    def finish(self, recording: Recording) -> None:
        self.finished = recording


def test_records_the_body(engine: ReplayEngine) -> None:
    engine.evaluate()
    with profile("two", ceilings=False) as p:
        engine.evaluate()
        engine.evaluate()
    assert [run.outcome for run in p.recording.runs] == ["hit", "hit"]
    assert list(p.recording.plans) == [7]
    assert p.recording.title == "two"
    assert p.recording.origin(7, 3).where == "train.py:4"
    assert p.recording.overhead.engine_ns == 2 * 10 + 5
    t0, t1 = p.recording.window
    assert all(t0 <= run.t0 for run in p.recording.runs) and t1 > t0
    assert not engine.enabled


def test_exception_passes_and_the_recording_stays(engine: ReplayEngine) -> None:
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught, profile() as p:
        engine.evaluate()
        raise error
    assert caught.value is error and error.__context__ is None
    assert len(p.recording.runs) == 1
    assert p.recording.failure is not None
    assert p.recording.failure.message == "mine"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_too(engine: ReplayEngine, kind: type[BaseException]) -> None:
    with pytest.raises(kind), profile() as p:
        raise kind
    assert p.recording.failure.type == kind.__name__
    assert not engine.enabled


def test_profiles_do_not_nest(engine: ReplayEngine) -> None:
    with profile("outer") as outer:
        engine.evaluate()
        with pytest.raises(RuntimeError, match=r"another profile is running \(outer\)"), profile():
            pass
        engine.evaluate()
    assert len(outer.recording.runs) == 2
    with profile() as again:
        pass
    assert again.recording.runs == ()


def test_recording_only_after_the_body(engine: ReplayEngine) -> None:
    p = profile()
    with pytest.raises(RuntimeError, match="once the 'with' body has ended"):
        p.recording  # noqa: B018
    with p, pytest.raises(RuntimeError, match="once the 'with' body has ended"):
        p.recording  # noqa: B018


def test_a_trace_that_cannot_start_leaves_profiling_usable(
    engine: ReplayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(engine, "_trace_start", lambda capacity: 1 / 0)
        with pytest.raises(ZeroDivisionError), profile():
            pass
    with profile():
        pass


def test_plan_that_cannot_be_described_is_counted(engine: ReplayEngine) -> None:
    engine._plan_describe = lambda plan_id: (_ for _ in ()).throw(KeyError(plan_id))  # type: ignore
    with pytest.warns(UserWarning, match="plan 7 has no description"), profile() as p:
        engine.evaluate()
    assert p.recording.missing_plans == (7,)
    assert "1 plans were forgotten" in p.recording.summary()


def test_live_sink_sees_everything_in_order(engine: ReplayEngine) -> None:
    sink = Sink()
    with profile(view=sink) as p:
        engine.evaluate()
        time.sleep(0.15)
        engine.evaluate()
    assert sink.calls[0] == "begin" and sink.calls.count("begin") == 1
    assert sink.calls.index("plan 7") < sink.calls.index("events")
    assert "origins 3 [11, 12]" in sink.calls
    assert sink.calls.count("plan 7") == 1
    assert "tick" in sink.calls[sink.calls.index("events") :]
    assert sink.rows == len(p.recording.events)
    assert sink.finished is p.recording


def test_sink_is_ticked_at_most_ten_times_a_second(engine: ReplayEngine) -> None:
    sink = Sink()
    with profile(view=sink):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            engine.evaluate()
            time.sleep(0.005)
    assert 1 <= sink.calls.count("tick") <= 7


def test_faulty_view_does_not_disturb(engine: ReplayEngine) -> None:
    class Faulty(Sink):
        def events(self, events: Any, dropped: int) -> None:
            raise ValueError("broken view")

        def finish(self, recording: Recording) -> None:
            raise ValueError("still broken")

    with pytest.warns(UserWarning, match="the live view stopped"), profile(view=Faulty()) as p:
        engine.evaluate()
    assert len(p.recording.runs) == 1


def test_nothing_is_described_while_the_program_runs(engine: ReplayEngine) -> None:
    described: list[bool] = []
    describe = engine._plan_describe
    engine._plan_describe = lambda plan: described.append(engine.enabled) or describe(plan)  # type: ignore
    with profile(ceilings=False):
        engine.evaluate()
        time.sleep(0.12)
        engine.evaluate()
    assert described == [False]
    assert engine.released == 1


def test_a_live_view_takes_its_share_of_the_time_at_most(
    engine: ReplayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "NS_PER_NODE", 200_000)
    sink = Sink()
    with profile(view=sink, ceilings=False):
        engine.evaluate()  # 5 nodes at 200 us: 1 ms is 2% of 50 ms
        time.sleep(0.04)
        early = list(sink.calls)
        time.sleep(0.3)
        late = list(sink.calls)
    assert early == [] and "plan 7" in late


def test_overhead_line() -> None:
    r = recording(window=(0, 6_700_000), overhead=Overhead(100_000, 20_000))
    assert overhead_line(r) == "recording cost 1.8% of this run: 120 us of 6.7 ms"
    assert overhead_line(r) in r.summary()
    assert overhead_line(r) in html(r)
    later = recording(window=(0, 6_700_000), overhead=Overhead(100_000, 20_000, 9_000_000))
    told = (
        "recording cost 1.8% of this run: 120 us of 6.7 ms; describing it took 9 ms outside the run"
    )
    assert overhead_line(later) == told


def test_ceilings_are_measured_once_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAMINA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(ceilings_module, "_known", None)
    monkeypatch.setattr(ceilings_module, "BUDGET_S", 0.01)
    assert ceilings_module.ceilings(measure_if_missing=False) is None
    first = ceilings_module.ceilings()
    assert first.bandwidth_gbs > 0 and first.peak_gflops > 0
    assert first.cache_gbs >= first.bandwidth_gbs
    monkeypatch.setattr(ceilings_module, "measure", lambda: 1 / 0)
    assert ceilings_module.ceilings() is first
    monkeypatch.setattr(ceilings_module, "_known", None)
    assert ceilings_module.ceilings() == first  # from the file


def test_old_ceilings_are_measured_again_and_the_higher_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAMINA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(ceilings_module, "_known", None)
    monkeypatch.setattr(ceilings_module, "measure", lambda: Ceilings(10.0, 20.0, 30.0))
    assert ceilings_module.ceilings().peak_gflops == 30
    monkeypatch.setattr(ceilings_module, "_known", None)
    monkeypatch.setattr(ceilings_module, "MAX_AGE_S", -1)
    monkeypatch.setattr(ceilings_module, "measure", lambda: Ceilings(15.0, 20.0, 25.0))
    again = ceilings_module.ceilings()
    assert (again.bandwidth_gbs, again.peak_gflops) == (15, 30)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"bandwidth_gbs": -1}', '{"x": 1}'])
def test_damaged_cache_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    monkeypatch.setenv("LAMINA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(ceilings_module, "_known", None)
    fresh = Ceilings(1.0, 2.0, 3.0)
    monkeypatch.setattr(ceilings_module, "measure", lambda: fresh)
    ceilings_module.cache_file().write_text(content)
    assert ceilings_module.ceilings() == fresh
    assert json.loads(ceilings_module.cache_file().read_text())["peak_gflops"] == 3.0


def test_perfetto(tmp_path: Path) -> None:
    recording().to_perfetto(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(spans) == 7
    launch = next(e for e in spans if e["cat"] == "launch")
    assert (launch["name"], launch["ts"], launch["dur"]) == ("map multiply+exp", 1.3, 0.4)
    counters = [e["args"]["bytes"] for e in trace["traceEvents"] if e["ph"] == "C"]
    assert max(counters) == 14224


def test_dot() -> None:
    dot = to_dot(Plan.from_json(plan_json()))
    assert dot.count("subgraph") == 2
    assert 'n3 -> n4 [color="#d55e00"' in dot and "reduction_barrier 8.19 kB" in dot
    assert "n2 -> n3;" in dot
    assert dot.count("{") == dot.count("}")


def test_json_text() -> None:
    data = json.loads(recording().to_json())
    assert len(data["events"]["t0"]) == 17
    assert data["plans"][0]["plan"] == 7


class Tags(HTMLParser):
    """Checks nesting and collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("whole", [False, True])
def test_html_is_script_free_and_well_formed(whole: bool) -> None:
    r = recording(
        title="<script>alert(1)</script>",
        failure=Failure("ValueError", "<img src=x onerror=y>"),
        machine=Machine(ceilings=Ceilings(40, 100, 300)),
    )
    text = page(r) if whole else html(r)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not tags.seen & {"script", "iframe", "img", "link", "svg"}
    assert not any(name.startswith("on") for name in tags.attributes)
    assert "http" not in text
    assert ("prefers-color-scheme:dark" in text) == whole
    assert len(html(r)) < 20_000


def test_html_takes_the_colours_of_its_page() -> None:
    assert not re.search(r"[^-]color:#|background:#(?!0072b2|e69f00|009e73)", html(recording()))


def test_empty_recording_has_a_report() -> None:
    empty = Recording(columns([]), (0, 10))
    assert "nothing was evaluated" in html(empty)
    assert "nothing was evaluated" in empty.summary()


def test_outside_a_notebook_the_bundle_is_static() -> None:
    bundle = recording()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}


def test_in_a_notebook_the_bundle_holds_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """One output must not hold both: a host shows an error in place of a dead view's siblings."""
    from lamina.workbench import display

    monkeypatch.setattr(display, "in_notebook", lambda: True)
    bundle = recording()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/png"}


def test_without_anywidget_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.workbench import display

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "lamina.widgets":
            raise ModuleNotFoundError("No module named 'anywidget'", name="anywidget")
        return real(name, *args, **kwargs)

    import builtins

    real = builtins.__import__
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    monkeypatch.setattr(builtins, "__import__", missing)
    bundle = recording()._repr_mimebundle_()
    assert bundle["text/plain"].endswith(display.NO_WIDGET)
    assert "interactive views need anywidget" in bundle["text/html"]
