"""A flat graph of ten thousand operations in Chromium, in a bare host of the widget protocol."""

from __future__ import annotations

import base64
import json

import pytest
from lamina.widgets import wire
from lamina.widgets.base import STATIC
from synthetic import big_plan

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ADDRESS = "http://lamina.test/"
HOST = """<!doctype html><link rel=stylesheet href=lamina.css>
<body style="margin:0;width:1100px"><div id=view></div><script type=module>
import widget from "./lamina.js";
const text = await (await fetch("snapshot")).text();
const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const traits = {view: "graph", uid: "a", height: 520, snapshot: new DataView(bytes.buffer)};
const model = {get: (name) => traits[name], on() {}, off() {}, send() {}};
window.tasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.tasks.push(Math.round(task.duration));
}).observe({type: "longtask"});
const colours = (canvas) => {
  const d = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < d.length; i += 16) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
  return seen.size;
};
widget.initialize({model});
// Data waits for the next tick of the store in any case; the clock starts at the widget's own turn.
window.begun = performance.now();
widget.render({model, el: document.getElementById("view")});
const look = () => {
  const canvas = document.querySelector("canvas");
  const known = window.first || !canvas || !canvas.width || colours(canvas) < 8;
  if (!known) window.first = performance.now() - window.begun;
  const busy = document.body.innerText.includes("laying out");
  if (window.first && !busy && !window.whole) window.whole = performance.now() - window.begun;
  if (!window.whole) requestAnimationFrame(look);
};
look();
</script>"""


@pytest.fixture(scope="module")
def snapshot() -> str:
    frames: list[bytes] = []
    stream = wire.Stream(frames.extend)
    stream.meta(title="flat", reasons={})
    stream.plan(big_plan(10_000))
    stream.document("end")
    stream.flush()
    numbered = [wire.numbered(one, i) for i, one in enumerate(frames)]
    return base64.b64encode(wire.pack_snapshot(numbered)).decode()


@pytest.fixture
def shown(chromium, snapshot):
    """Opens the view under a content security policy; gives the page once all is laid out."""
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def show(policy: str):
            page = browser.new_page(viewport={"width": 1100, "height": 700})
            page.errors = []
            page.on("pageerror", lambda error: page.errors.append(str(error)))

            def answer(route):
                name = route.request.url.removeprefix(ADDRESS)
                if name == "":
                    headers = {"Content-Security-Policy": policy} if policy else {}
                    route.fulfill(body=HOST, content_type="text/html", headers=headers)
                elif name == "snapshot":
                    route.fulfill(body=snapshot, content_type="text/plain")
                elif name in ("lamina.js", "lamina.css"):
                    route.fulfill(path=STATIC / name)
                else:
                    route.fulfill(status=404)

            page.route(ADDRESS + "**", answer)
            page.goto(ADDRESS)
            page.wait_for_function("window.whole", timeout=60_000)
            return page

        yield show
        browser.close()


def test_a_first_picture_comes_at_once_and_the_page_stays_alive(shown, artifacts):
    page = shown("")
    first, whole, tasks = page.evaluate("[window.first, window.whole, window.tasks]")
    page.screenshot(path=artifacts / "flat.png")
    print(json.dumps({"first": first, "whole": whole, "tasks": tasks}))
    assert page.errors == []
    # The machine's speed cancels out: were the layout on the page, one task would be most of it.
    assert first < whole / 2
    assert max(tasks, default=0) < whole / 2


def test_where_workers_are_forbidden_the_page_lays_out_itself(shown):
    page = shown("worker-src 'none'")
    first, whole = page.evaluate("[window.first, window.whole]")
    assert page.errors == [] and first < whole
