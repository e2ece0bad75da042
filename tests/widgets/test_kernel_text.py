"""The text of kernels in the fusion view, on a device that compiles it: live, themed, reopened."""

from __future__ import annotations

import json

import pytest
from lab import Lab, server
from lamina import soft_metal
from lamina.widgets.static import MAX_BYTES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not soft_metal.available(),
        reason="not applicable: no compiler for kernels (lamina[softmetal])",
    ),
]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# A row kernel, a scan of three launches, a sort whose passes share a text; the sine is the CPU's.
CELLS = [
    """
import os
os.environ["LAMINA_GPU"] = "soft_metal"
import numpy as np
import lamina.core as mx
%load_ext lamina
x = mx.array(np.linspace(0, 1, 1 << 17, dtype=np.float32))
""",
    """%%mlx_profile
with mx.stream(mx.gpu):
    rows = mx.softmax(x.reshape(1024, 128) * 2, axis=-1)
    mx.eval(rows, mx.cumsum(x), mx.sort(x[:20000]))
with mx.stream(mx.cpu):
    mx.eval(mx.sin(x) * 2)
""",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium):
    root = tmp_path_factory.mktemp("lab")
    with server(root) as address, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1200, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield Lab(context.new_page(), address, root)
        browser.close()


@pytest.fixture(scope="module")
def shown(lab):
    """The profile on screen, its view of the graph in front."""
    page = lab.page
    lab.show("text.ipynb", CELLS)
    return page


@pytest.fixture
def shot(lab, artifacts):
    folder = artifacts / "widgets"
    folder.mkdir(exist_ok=True)

    def take(name: str) -> None:
        lab.page.locator(".lam-root").first.screenshot(path=folder / f"kernel-text-{name}.png")

    return take


def select(page, name):
    """Selects the first kernel of that name by way of the table of kernels."""
    page.get_by_role("tab", name="Latency").click()
    page.get_by_role("table", name="Kernels").locator("tbody tr", has_text=name).first.click()
    page.get_by_role("button", name="show in graph").click()
    page.wait_for_timeout(400)
    return page.get_by_role("region", name="Kernel text")


def opened(part):
    """The text of one part, opened if it is not."""
    if part.get_attribute("open") is None:
        part.locator("summary").click()
    return part.locator("pre").last


def channels(page, selector, name):
    """A colour as it is drawn, on the view's ground where it is see-through."""
    return page.evaluate(
        """([selector, name]) => {
          const canvas = document.createElement("canvas").getContext("2d", {alpha: false});
          const ground = getComputedStyle(document.querySelector(".lam-root")).backgroundColor;
          for (const colour of [ground, getComputedStyle(document.querySelector(selector))[name]]) {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
          }
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [selector, name],
    )


def test_the_text_of_a_kernel_is_read_and_copied(lab, shown, shot):
    text = select(shown, "max")
    assert "soft_metal, Metal · " in text.inner_text()
    assert "compiled in" in text.inner_text() or "from the cache" in text.inner_text()
    part = text.locator("details").first
    assert part.get_attribute("open") is None  # a long one does not push the boundaries away
    height = shown.evaluate("document.querySelector('.lam-root').offsetHeight")
    source = opened(part).text_content()
    assert source.startswith("#include <metal_stdlib>\n") and "kernel void row" in source
    lines = part.locator("pre").first.text_content().split("\n")
    assert lines == [str(i + 1) for i in range(source.count("\n"))]
    assert f"{len(lines)} lines" in part.locator("summary").inner_text()
    box = part.get_by_role("region").bounding_box()
    assert box["height"] <= 240
    assert shown.evaluate("document.querySelector('.lam-root').offsetHeight") == height
    part.get_by_role("button", name="copy").click()
    part.get_by_role("button", name="copied").wait_for()
    assert shown.evaluate("navigator.clipboard.readText()") == source
    for theme in ("Dark", "Light"):
        lab.theme(theme)
        part.scroll_into_view_if_needed()
        ink = channels(shown, ".lam-lines pre:last-child", "color")
        ground = channels(shown, ".lam-lines", "backgroundColor")
        bright, dim = (ground, ink) if theme == "Light" else (ink, ground)
        assert sum(bright) - sum(dim) > 300
        shot(theme.lower())
    assert lab.errors == [] and lab.external == []


def test_a_kernel_of_several_launches_shows_each(shown, shot):
    text = select(shown, "cumsum")
    parts = text.locator("details")
    names = [part.split("\n")[0].split(" ")[0] for part in parts.all_inner_texts()]
    assert names == ["scan_totals", "scan_of_totals", "scan_chunks"]
    for i, name in enumerate(names):
        assert f"kernel void {name}(" in opened(parts.nth(i)).text_content()
    text.scroll_into_view_if_needed()
    shot("launches")
    text = select(shown, "sort")
    summaries = text.locator("summary").all_inner_texts()
    assert any(summary.startswith("sort_merge x ") for summary in summaries)
    # Who opened a text wants to see the next kernel's as well.
    assert text.locator("details").first.get_attribute("open") is not None


def test_the_cpu_says_what_it_runs_in_place_of_a_text(shown, shot):
    text = select(shown, "sin")
    assert "The CPU compiles no text: it runs this program" in text.inner_text()
    assert text.locator("details").count() == 0
    assert "sin" in shown.locator(".lam-program").inner_text()
    text.scroll_into_view_if_needed()
    shot("cpu")


def test_narrow_panels_keep_the_text_inside(shown, shot):
    shown.set_viewport_size({"width": 800, "height": 900})
    try:
        part = select(shown, "max").locator("details").first
        opened(part)
        part.scroll_into_view_if_needed()
        shown.wait_for_timeout(500)
        wide, inside = shown.evaluate(
            "(() => { const e = document.querySelector('.lam-panel');"
            "return [e.clientWidth, e.scrollWidth]; })()"
        )
        assert inside <= wide
        shot("narrow")
    finally:
        shown.set_viewport_size({"width": 1200, "height": 900})


@pytest.mark.parametrize("trusted", [True, False])
def test_a_notebook_without_a_kernel_has_the_texts(lab, shown, artifacts, trusted):
    """Runs last: it leaves the page of the others."""
    page = lab.page
    if trusted:
        lab.run("docmanager:save")
        page.wait_for_timeout(1500)
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    saved = json.loads((lab.root / "text.ipynb").read_text())
    assert len(json.dumps(saved)) < MAX_BYTES + 20_000
    if not trusted:
        saved["cells"][-1]["source"] += "# from somebody else"
    name = f"text-{'' if trusted else 'un'}trusted"
    (lab.root / f"{name}.ipynb").write_text(json.dumps(saved))
    page.goto(f"{lab.address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-OutputArea-output img", timeout=60_000)
    page.wait_for_timeout(3000)
    lab.errors.clear()  # the host itself complains that the widget's model is gone
    section = page.locator(".jp-OutputArea-output details", has_text="Kernel text").first
    assert "kernel text: " in section.inner_text()
    for theme in ("Dark", "Light"):
        lab.theme(theme)
        part = section.locator("details", has_text="cumsum").first
        if part.get_attribute("open") is None:
            part.locator("summary").click()
        sources = part.locator("pre")
        assert sources.count() == 3 and sources.first.is_visible()
        assert "kernel void scan_totals(" in sources.first.text_content()
        assert sources.first.bounding_box()["height"] <= 320
        part.scroll_into_view_if_needed()
        page.screenshot(path=artifacts / "widgets" / f"kernel-{name}-{theme.lower()}.png")
    assert "soft_metal, Metal, " in part.locator("summary").inner_text()
