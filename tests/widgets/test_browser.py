"""The views in JupyterLab in headless Chromium: drawn, clicked, live, themed, reopened."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from lab import Lab, server
from lamina import soft_metal
from lamina.widgets.static import MAX_BYTES

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SHOW = """
import synthetic
from lamina.widgets import ProfileView
view = ProfileView(synthetic.recording(steps=20))
view
"""
# The main thread computes without pause; a second thread feeds the view, as the recorder does.
LIVE = """
import threading, time
import numpy as np
import synthetic
from IPython.display import DisplayHandle
from lamina.widgets import ProfileView
from lamina.widgets.wire import Stream
from lamina.workbench.recording import EVENT_DTYPE

done = synthetic.recording(steps=60)
view = ProfileView()
handle = DisplayHandle()
handle.display(view)
stream = Stream(view.send_frames, t_origin=done.window[0])
stream.meta(title="live loop", reasons=synthetic.REASONS, active_bytes=0)

def pump():
    stream.plan(done.plans[1].raw)
    table = {i: vars(o) for i, o in done.origins.items()}
    stream.origins(1, done.origin_lists[1].tolist(), table)
    for part in np.array_split(done.events, 60):
        stream.events(part)
        stream.flush()
        time.sleep(0.1)

thread = threading.Thread(target=pump)
thread.start()
a = np.ones((600, 600))
while thread.is_alive():
    a = np.tanh(a @ a)
view.finish(done)
handle.update(view)
"""

# A kernel that turns squares in threadgroup memory, on the device that counts, and one on the CPU.
COUNTED = """
import os
os.environ["LAMINA_GPU"] = "soft_metal"
import numpy as np
import lamina.core as mx
from lamina.widgets import ProfileView
from lamina.workbench import profile
x = mx.array(np.ones((256, 256), np.float32))
with profile("two queues", ceilings=False) as p:
    with mx.stream(mx.gpu):
        y = mx.exp(x.T) + x
    mx.eval(y)
    with mx.stream(mx.cpu):
        mx.eval(mx.sin(y) * 2)
ProfileView(p.recording)
"""


# Copies there and back between the CPU and a device with memory of its own.
APART = """
import os
os.environ["LAMINA_GPU"] = "apart"
import numpy as np
import lamina.core as mx
from lamina.widgets import ProfileView
from lamina.workbench import profile
x = mx.array(np.ones((512, 512), np.float32))
with profile("apart", ceilings=False) as p:
    for _ in range(3):
        with mx.stream(mx.gpu):
            y = mx.exp(x) + 1
        with mx.stream(mx.cpu):
            x = mx.sin(y) * 2
        mx.eval(x)
ProfileView(p.recording)
"""


# One graph in four sizes, and another.
SIZES = """
import numpy as np
import lamina.core as mx
from lamina.widgets import ProfileView
from lamina.workbench import profile
w = mx.array(np.ones((64, 64), np.float32))
mx.eval(w)
with profile("sizes", ceilings=False) as p:
    for n in (160, 320, 480, 640) * 2:
        x = mx.array(np.ones((n, 64), np.float32))
        mx.eval(mx.softmax(mx.exp(x @ w), axis=1))
    mx.eval(mx.sin(w))
ProfileView(p.recording)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium):
    root = tmp_path_factory.mktemp("lab")
    with server(root) as address, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        yield Lab(page, address, root)
        browser.close()


@pytest.fixture(autouse=True)
def quiet(lab):
    """Every test leaves the console clean and the network alone."""
    lab.errors.clear()
    lab.external.clear()
    yield
    assert lab.errors == []
    assert lab.external == []


@pytest.fixture
def shot(lab, artifacts):
    folder = artifacts / "widgets"
    folder.mkdir(exist_ok=True)

    def take(name: str) -> None:
        lab.page.locator(".lam-root").first.screenshot(path=folder / f"{name}.png")

    return take


@pytest.fixture
def shown(lab):
    """A finished recording on screen."""
    page = lab.page
    if not page.url.endswith("/shown.ipynb"):
        lab.open("shown.ipynb", [SHOW])
    else:
        lab.run("notebook:clear-all-cell-outputs")
        page.wait_for_selector(".lam-root", state="detached")
    lab.run_shown()
    return page


def root(page):
    return page.locator(".lam-root").first


def tab(page, name):
    page.get_by_role("tab", name=name).click()
    page.wait_for_timeout(400)


def drawn(page) -> int:
    """Number of different colours on the first canvas: 1 where nothing was drawn."""
    return page.evaluate(
        """() => {
          const c = document.querySelector(".lam-root canvas");
          const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          const seen = new Set();
          for (let i = 0; i < d.length; i += 4) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
          return seen.size;
        }"""
    )


def press(page, *keys):
    page.locator(".lam-root canvas").first.focus()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_timeout(200)


def test_every_view_is_drawn_in_both_themes(lab, shown, shot):
    for theme in ("Light", "Dark"):
        lab.theme(theme)
        for name in ("Graph", "Memory", "Latency"):
            tab(shown, name)
            assert drawn(shown) > 20
            shot(f"{name.lower()}-{theme.lower()}")
        background = shown.evaluate(
            "getComputedStyle(document.querySelector('.lam-root')).backgroundColor"
        )
        channels = [int(v) for v in background[4:-1].split(",")]
        assert (sum(channels) > 600) == (theme == "Light")
    lab.theme("Light")


def test_the_header_shows_the_figures_of_the_analysis(shown):
    text = root(shown).locator(".lam-header").inner_text()
    assert "20" in text and "19 hit" in text and "1 miss" in text
    assert "600" in text and "8.14 MB" in text and "1.77 GB" in text


def test_a_click_on_a_kernel_explains_it(shown, shot):
    shown.get_by_role("button", name="by kernel").click()
    press(shown, "Home", "ArrowDown", "ArrowDown")
    canvas = shown.locator(".lam-root canvas").first
    # The pointer takes the same way as the keyboard: find the kernel, then click it.
    found = {}
    box = canvas.bounding_box()
    for y in range(20, int(box["height"]) - 10, 18):
        for x in range(20, int(box["width"]) - 10, 40):
            canvas.click(position={"x": x, "y": y})
            panel = shown.locator(".lam-panel").inner_text()
            if "Kernel program" in panel:
                found["kernel"] = panel
                break
        if found:
            break
    assert "Boundaries" in found["kernel"] and "reads" in found["kernel"]
    assert "= load" in shown.locator(".lam-program").inner_text()
    shot("kernel")


def test_an_edge_says_why_it_is_not_fused(shown, shot):
    shown.get_by_role("button", name="by kernel").click()
    press(shown, "Home", "ArrowDown", "ArrowDown", "e")
    cards = shown.locator(".lam-card")
    assert cards.count() >= 1
    text = cards.first.inner_text()
    assert "not fused" in text and "costs" in text
    codes = cards.first.locator(".lam-reason").get_attribute("data-code")
    assert codes in (
        "opaque_call",
        "leaf_input",
        "input_of_call",
        "several_consumers",
        "reduction_barrier",
    )
    shot("edge")


def test_search_finds_operations_by_line(shown):
    shown.get_by_role("searchbox").fill("digits.py:91")
    shown.wait_for_timeout(200)
    text = shown.locator(".lam-panel").inner_text()
    assert "operations found" in text and "square" in text


def test_backward_is_told_from_forward_and_linked(shown):
    shown.get_by_role("searchbox").fill("convolution_weight")
    shown.locator(".lam-panel .lam-plain button").first.click()
    shown.wait_for_timeout(200)
    assert "backward" in shown.locator(".lam-panel").inner_text()


def test_a_moment_lists_its_buffers(shown, shot):
    tab(shown, "Memory")
    assert "The peak: 8.14 MB" in root(shown).inner_text()
    canvas = shown.locator(".lam-root canvas").first
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert "Live at" in root(shown).inner_text()
    assert shown.get_by_role("table", name="Buffers").locator("tbody tr").count() > 5
    shot("moment")
    shown.get_by_role("button", name="back to the peak").click()
    assert "The peak" in root(shown).inner_text()


def test_a_kernel_picked_in_the_table_is_shown_in_the_graph(shown, shot):
    tab(shown, "Latency")
    table = shown.get_by_role("table", name="Kernels")
    first = table.locator("tbody tr").first
    name = first.locator("td").first.inner_text()
    first.click()
    assert "lam-selected" in (table.locator("tbody tr").first.get_attribute("class") or "")
    shot("picked")
    shown.get_by_role("button", name="show in graph").click()
    shown.wait_for_timeout(300)
    heading = shown.locator(".lam-panel h4").inner_text()
    assert heading.split()[-1] in name


def test_the_table_sorts(shown):
    tab(shown, "Latency")
    table = shown.get_by_role("table", name="Kernels")
    table.get_by_role("button", name="count").click()
    table.get_by_role("button", name="kernel").click()
    names = table.locator("tbody tr td:first-child").all_inner_texts()
    assert names == sorted(names, key=lambda n: n.split(" ", 1)[1])


def test_everything_is_reached_by_keyboard(shown):
    shown.get_by_role("tab", name="Graph").focus()
    shown.keyboard.press("ArrowRight")
    assert shown.get_by_role("tab", name="Memory").get_attribute("aria-selected") == "true"
    press(shown, "ArrowRight", "ArrowRight")
    assert "live" in shown.locator(".lam-root [role=status]").inner_text()
    shown.get_by_role("tab", name="Graph").click()
    press(shown, "Home", "ArrowDown")
    assert "," in shown.locator(".lam-root [role=status]").inner_text()
    # Keys pressed in the view are no commands of the notebook ("e", "a" and "b" add cells).
    press(shown, "e", "a", "b")
    assert shown.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == 1


def test_nothing_overflows_at_700_pixels(lab, shown, shot):
    shown.set_viewport_size({"width": 800, "height": 900})
    try:
        shown.wait_for_timeout(500)
        for name in ("Graph", "Memory", "Latency"):
            tab(shown, name)
            wide, inside, height = shown.evaluate(
                "(() => { const e = document.querySelector('.lam-root');"
                "return [e.clientWidth, e.scrollWidth, e.offsetHeight]; })()"
            )
            assert inside <= wide and height == 520
            shot(f"narrow-{name.lower()}")
    finally:
        shown.set_viewport_size({"width": 1200, "height": 900})


def test_views_follow_a_running_cell(lab, shot):
    page = lab.page
    lab.open("live.ipynb", [LIVE])
    lab.run_all()
    page.wait_for_selector(".lam-root .lam-live", timeout=90_000)
    page.wait_for_selector(".lam-root canvas", timeout=30_000)
    seen = set()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert lab.busy()
        seen.add(page.locator(".lam-figure .lam-value").first.inner_text())
        page.wait_for_timeout(200)
    assert len(seen) >= 5
    shot("live-graph")
    tab(page, "Memory")
    shot("live-memory")
    height = page.evaluate("document.querySelector('.lam-root').offsetHeight")
    tab(page, "Latency")
    shot("live-latency")
    assert lab.busy()
    page.wait_for_function(
        "document.querySelector('.lam-badge')?.textContent === 'training step'", timeout=60_000
    )
    page.wait_for_timeout(500)
    assert "60" in page.locator(".lam-figure .lam-value").first.inner_text()
    assert page.get_by_role("tab", name="Latency").get_attribute("aria-selected") == "true"
    assert page.evaluate("document.querySelector('.lam-root').offsetHeight") == height


def test_copies_have_lanes_by_pair_of_devices(lab, shot):
    page = lab.page
    lab.show("apart.ipynb", [APART])
    tab(page, "Latency")
    # Evaluations, planning, waits, copies from the device and to it, a queue each.
    canvas = page.locator(".lam-timeline canvas")
    assert canvas.evaluate("it => it.offsetHeight") == 22 + 6 + 7 * (34 + 8)
    shot("apart-latency")
    said = set()
    for lane in (3, 4):
        for x in range(100, 1000, 3):
            canvas.hover(position={"x": x, "y": 22 + 6 + lane * (34 + 8) + 17})
            tip = page.locator(".lam-tip")
            if tip.count():
                said.add(tip.inner_text())
                break
    text = " ".join(said)
    assert "apart → cpu" in text and "cpu → apart" in text and "1.05 MB" in text, said


def test_the_sizes_of_one_graph_are_together(lab, shot):
    page = lab.page
    lab.show("sizes.ipynb", [SIZES])
    told = page.get_by_role("combobox", name="Plan").locator("option").all_inner_texts()
    assert len(told) == 2 and "8 runs, 4 sizes" in told[0] and "sizes" not in told[1]
    tab(page, "Latency")
    rows = page.get_by_role("table", name="Kernels").locator("tbody tr")
    row = rows.filter(has_text="exp").first
    assert row.locator("td").nth(1).inner_text() == "8"
    row.click()
    shot("sizes-latency")


def test_what_crosses_between_devices_is_told_at_the_value(lab, shot):
    page = lab.page
    lab.show("apart.ipynb", [APART])
    # Six copies of a MiB.
    copied = page.get_by_role("table", name="Memory traffic").locator("tr", has_text="copied")
    assert copied.locator("td").first.inner_text() == "6.29 MB"
    tab(page, "Graph")
    panel = page.get_by_role("complementary", name="Explanation")
    assert "Copied from other devices" in panel.inner_text()
    shot("apart-plan")
    panel.locator("li", has_text="⇉").first.get_by_role("button").click()
    told = page.get_by_role("region", name="Copied between devices")
    text = " ".join(told.inner_text().split())
    assert "Copied from" in text and "before launch 0, map" in text
    assert "3 in 3 runs" in text and "3.15 MB" in text and "GB/s" in text
    for theme in ("Light", "Dark"):
        lab.theme(theme)
        shot(f"apart-value-{theme.lower()}")
    lab.theme("Light")


@pytest.mark.skipif(not soft_metal.available(), reason="not applicable: no compiler for kernels")
def test_a_device_that_counts_shows_its_counts(lab, shot):
    page = lab.page
    lab.show("counted.ipynb", [COUNTED])
    tab(page, "Latency")
    # A lane for evaluations, one for planning, one for waits, one for each queue.
    lanes = page.evaluate("document.querySelector('.lam-timeline canvas').offsetHeight")
    assert lanes == 22 + 6 + 5 * (34 + 8)
    table = page.get_by_role("table", name="Kernels")
    heads = table.locator("th").all_inner_texts()
    assert {"coalesced", "bank conflicts", "lanes"} <= {head.strip(" ▾▴↑↓") for head in heads}
    row = table.locator("tbody tr", has_text="exp")
    cells = row.first.locator("td").all_inner_texts()
    assert cells[-3:] == ["100.0%", "0.00", "100.0%"]
    on_cpu = table.locator("tbody tr", has_text="sin").first.locator("td").all_inner_texts()
    assert on_cpu[-3:] == ["-", "-", "-"]
    row.first.click()
    shot("counted-latency")
    page.get_by_role("button", name="show in graph").click()
    page.wait_for_timeout(400)
    counters = page.get_by_role("region", name="Counted by software Metal")
    text = " ".join(counters.inner_text().split())
    assert "coalesced 100.0%" in text and "0 cycles in" in text
    panel = page.get_by_role("complementary", name="Explanation").inner_text()
    assert "read from CPU clock" in " ".join(panel.split())
    # 256 x 256 floats are read twice and written once, in lines of 128 bytes.
    assert "6144 asked for, 6144 at best" in text
    counters.scroll_into_view_if_needed()
    shot("counted-graph")


def test_a_second_view_starts_where_the_first_is(lab, shown):
    lab.run("notebook:create-output-view")
    shown.wait_for_function("document.querySelectorAll('.lam-root').length >= 2")
    shown.wait_for_timeout(500)
    texts = shown.locator(".lam-root .lam-header").all_inner_texts()
    assert len(texts) >= 2 and texts[0] == texts[1]


def twin_is_visible(page):
    return page.locator(".jp-OutputArea-output img").first.is_visible()


def test_a_reloaded_page_gets_the_view_back(lab, shown):
    before = root(shown).locator(".lam-header").inner_text()
    lab.run("docmanager:save")
    shown.wait_for_timeout(1000)
    shown.reload()
    shown.wait_for_selector(".lam-root canvas", timeout=90_000)
    shown.wait_for_timeout(1000)
    assert root(shown).locator(".lam-header").inner_text() == before
    assert not twin_is_visible(shown)


# A live view comes first in its cell's outputs, whatever else the cell prints before its twin.
PROFILED = """
%load_ext lamina
import lamina.core as mx
"""
PROFILED_CELL = """%%mlx_profile
print("before")
mx.eval(mx.exp(mx.ones((64, 64))) + 1)
print("after")
"""


def saved_notebook(lab, cells):
    """The cells run, shown and saved; the notebook as JSON."""
    page = lab.page
    lab.show("saved.ipynb", cells)
    assert not twin_is_visible(page)
    lab.run("docmanager:save")
    page.wait_for_timeout(1500)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    return json.loads((lab.root / "saved.ipynb").read_text())


@pytest.mark.parametrize("cells", [[SHOW], [PROFILED, PROFILED_CELL]], ids=["view", "magic"])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_saved_notebook_reads_without_its_kernel(lab, artifacts, cells, trusted):
    page = lab.page
    saved = saved_notebook(lab, cells)
    twin = saved["cells"][-1]["outputs"][-1]
    assert {"text/plain", "text/html", "image/png"} == set(twin["data"])
    # The static twin's own bound, and a little for the rest of the notebook.
    assert len(json.dumps(saved)) < MAX_BYTES + 20_000
    if not trusted:
        saved["cells"][-1]["source"] += "# from somebody else"
    name = f"{'view' if len(cells) == 1 else 'magic'}-{'' if trusted else 'un'}trusted"
    (lab.root / f"reopened-{name}.ipynb").write_text(json.dumps(saved))
    page.goto(f"{lab.address}/lab/tree/reopened-{name}.ipynb?reset")
    page.wait_for_selector(".jp-OutputArea-output img", timeout=60_000)
    page.wait_for_timeout(4000)
    page.screenshot(path=artifacts / "widgets" / f"reopened-{name}.png")
    # The host itself complains that the widget's model is gone.
    lab.errors.clear()
    assert twin_is_visible(page)
    assert page.locator(".jp-OutputArea-output table").count() >= 2
    shown = page.locator(".jp-Notebook").inner_text()
    assert "rror displaying" not in shown and "Loading widget" not in shown
    assert ("As it was recorded:" in shown) is not trusted
    assert ("before" in shown and "after" in shown) is (len(cells) == 2)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_notebook_converted_to_html_shows_the_twin(lab, artifacts, scripts):
    saved_notebook(lab, [SHOW])
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "saved.ipynb"]
    subprocess.run(command, cwd=lab.root, check=True, capture_output=True)
    context = lab.page.context.browser.new_context(java_script_enabled=scripts, offline=True)
    page = context.new_page()
    page.goto(f"file://{lab.root}/saved.html")
    page.wait_for_timeout(1000)
    page.screenshot(path=artifacts / "widgets" / f"converted-{scripts}.png", full_page=True)
    assert page.locator(".jp-OutputArea-output img").first.is_visible()
    assert "rror displaying" not in page.locator("body").inner_text()
    context.close()
