from __future__ import annotations

import base64
import re
import struct
import sys

import pytest
from decode import decode
from lamina.widgets import GraphView, LatencyView, MemoryView, ProfileView, layout, wire
from lamina.widgets import base as base_module
from synthetic import Net, recording

MIME = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def sent(monkeypatch):
    """Messages that a view sent: (content, buffers)."""
    messages = []
    monkeypatch.setattr(
        ProfileView, "send", lambda self, content, buffers=None: messages.append((content, buffers))
    )
    return messages


def bundle(view):
    data, _ = view._repr_mimebundle_()
    return data


@pytest.mark.parametrize("cls", [ProfileView, GraphView, MemoryView, LatencyView])
def test_a_saved_notebook_reads_without_a_kernel(cls):
    data = bundle(cls(recording(steps=3)))
    assert set(data) == {MIME, "text/plain", "text/html", "image/png"}
    html = data["text/html"]
    assert not re.search(r"<script|<iframe|<svg|\son\w+=|https?://", html)
    (style,) = re.findall(r"<style>(.*?)</style>", html)
    assert style.endswith("{display:none}") and "url" not in style
    assert "data:image/png;base64," in html and "<table" in html
    assert "peak" in data["text/plain"]
    png = base64.b64decode(data["image/png"])
    width, height = struct.unpack(">II", png[16:24])
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and width >= 300 and height >= 100


def test_the_twin_of_a_large_recording_fits():
    data = bundle(ProfileView(recording(steps=30, blocks=12)))
    size = sum(len(data[mime]) for mime in ("text/plain", "text/html", "image/png"))
    assert size <= 220_000


def test_without_matplotlib_the_tables_remain(monkeypatch):
    monkeypatch.setitem(sys.modules, "lamina.widgets.picture", None)
    data = bundle(ProfileView(recording(steps=2)))
    assert "image/png" not in data and "<table" in data["text/html"]


def test_without_the_bundle_the_view_says_how_to_get_it():
    assert "npm run build" in base_module.NO_BUNDLE


def test_a_view_numbers_what_any_stream_sends(sent):
    view = ProfileView()
    for _ in range(2):
        stream = wire.Stream(view.send_frames)
        stream.meta(title="x")
        stream.document("source", files={})
        stream.flush()
    view.finish(recording(steps=2))
    numbers = [decode(f).seq for _, buffers in sent for f in buffers]
    assert numbers == list(range(len(numbers))) and len(numbers) > 4
    assert all(content == {"lamina": 1} for content, _ in sent)


def test_a_late_view_gets_everything_sent_before(sent):
    view = ProfileView()
    stream = wire.Stream(view.send_frames)
    stream.plan(Net().description())
    stream.flush()
    assert view.get_state("uid").keys() == {"uid"}
    first = wire.unpack_snapshot(view.get_state()["snapshot"])
    assert first == [f for _, buffers in sent for f in buffers]
    stream.meta(title="x")
    stream.flush()
    assert len(wire.unpack_snapshot(view.get_state()["snapshot"])) == 2


def test_lost_frames_are_sent_again(sent):
    view = ProfileView()
    stream = wire.Stream(view.send_frames)
    for i in range(5):
        stream.document("source", files={"a": str(i)})
        stream.flush()
    sent.clear()
    view._answer(view, {"lamina": 1, "resend_from": 3}, [])
    view._answer(view, {"other": 1}, [])
    assert [[decode(f).seq for f in buffers] for _, buffers in sent] == [[3, 4]]


def test_kept_frames_are_bounded_and_keep_their_numbers(sent, monkeypatch):
    monkeypatch.setattr(base_module, "MAX_KEPT_BYTES", 10_000)
    view = ProfileView()
    view.send_frames([wire.frame(wire.DOCUMENT, 2, b"{}")])
    for _ in range(100):
        view.send_frames([wire.frame(wire.LAUNCHES, 10, bytes(560))])
    frames = wire.unpack_snapshot(view.get_state()["snapshot"])
    assert sum(map(len, frames)) <= 10_000 + 600
    assert [wire.seq_of(f) for f in frames] == list(range(101))
    assert frames[0][16:] == b"{}" and len(frames[-1]) == 576


def test_a_live_view_has_no_twin_until_it_is_finished(sent):
    view = ProfileView()
    assert view.twin() is None and set(bundle(view)) == {MIME, "text/plain"}
    view.finish(recording(steps=2))
    assert "image/png" in bundle(view)


@pytest.fixture
def displayed(monkeypatch):
    """Bundles shown in the cell."""
    import IPython.display

    bundles = []
    show = lambda data, metadata=None, raw=False: bundles.append(set(data))
    monkeypatch.setattr(IPython.display, "display", show)
    return bundles


TWIN = {"text/plain", "text/html", "image/png"}


def test_the_twin_is_an_output_of_its_own(displayed):
    view = ProfileView(recording(steps=2))
    view._ipython_display_()
    view._ipython_display_()
    assert displayed == [{MIME, "text/plain"}, TWIN] * 2
    assert f"lamina-twin-{view.uid}" in view.twin().html


def test_a_view_shown_while_it_ran_gets_its_twin_afterwards(displayed, sent):
    view = ProfileView()
    view._ipython_display_()
    assert displayed == [{MIME, "text/plain"}]
    view.finish(recording(steps=2))
    view._ipython_display_()
    assert displayed[1:] == [TWIN]
    view._ipython_display_()
    assert displayed[2:] == [{MIME, "text/plain"}, TWIN]


@pytest.mark.parametrize("engine", ["own", "auto"])
def test_static_layout_points_down_and_keeps_boxes_apart(engine):
    sizes = [(1.0, 0.4)] * 7
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (5, 3), (4, 6), (6, 4)]
    found = layout.lay_out(sizes, edges, engine)
    for a, b in edges[:-1]:
        assert found.points[a][1] < found.points[b][1]
    for i, (x, y) in enumerate(found.points):
        for x2, y2 in found.points[:i]:
            assert abs(x - x2) >= 1.0 - 1e-6 or abs(y - y2) >= 0.4 - 1e-6
    assert found == layout.lay_out(sizes, edges, engine)


def test_static_layout_takes_empty_graphs():
    assert layout.lay_out([], []).points == ()
