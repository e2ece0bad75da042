"""`python tests/tools/newcomer.py`: from an empty folder to a reopened notebook, as a newcomer.

Clones the tree, runs `make lab` there, opens the address it prints in Chromium, runs the first
notebook, looks at every view in both themes and several widths, clicks, reloads without a kernel.
Pictures go to artifacts/newcomer.  `--tree DIR` takes a clone that exists already.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS / "widgets"), str(TESTS / "tools")]

import machine  # noqa: E402
from lab import READY, Lab, free_port, settings  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

PICTURES = ROOT / "artifacts" / "newcomer"
ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+/lab/tree/\S+token=\w+")
TABS = ("Graph", "Memory", "Latency")
COLOURS = """(canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4)
    seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  return seen.size;
}"""
WIDTHS = {"narrow": 640, "wide": 2400}


def start(tree: Path, state: Path) -> tuple[subprocess.Popen[bytes], str]:
    """`make lab` in ``tree``; its process and the address it prints."""
    flags = [
        "--no-browser", "--allow-root", f"--port={free_port()}", "--LabApp.news_url=None",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    # As in a new shell: what this process has on its path must not help.
    mine = ("PYTHONPATH", "VIRTUAL_ENV", "PY")
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    environment |= settings(state)
    log = state / "lab.log"
    begun = time.monotonic()
    with open(log, "w") as out:
        process = subprocess.Popen(
            ["make", "lab", f"LAB_FLAGS={' '.join(flags)}"],
            cwd=tree, env=environment, stdout=out, stderr=out,
        )  # fmt: skip
    while process.poll() is None:
        found = ADDRESS.search(log.read_text())
        if found:
            print(f"make lab: ready after {time.monotonic() - begun:.0f} s", flush=True)
            return process, found[0]
        time.sleep(0.5)
    raise SystemExit(f"make lab ended:\n{log.read_text()[-3000:]}")


def look_at_views(lab: Lab, page: Page, theme: str) -> None:
    """Every view of the notebook is drawn on every tab."""
    views = page.locator(".lam-root")
    assert views.count() >= 1, "no view on the page"
    for i in range(views.count()):
        view = views.nth(i)
        view.scroll_into_view_if_needed()
        for name in TABS if view.get_by_role("tab").count() else ("",):
            if name:
                view.get_by_role("tab", name=name).click()
            page.wait_for_timeout(700)
            assert view.locator("canvas").first.evaluate(COLOURS) > 15, f"view {i} {name}: empty"
            view.screenshot(path=PICTURES / f"view{i}-{name.lower()}-{theme}.png")
        if view.get_by_role("tab").count():
            view.get_by_role("tab", name="Graph").click()


def click_until(view: Any, shows: str, step: tuple[int, int]) -> None:
    """Click over the canvas until the panel shows what a selector finds."""
    canvas = view.locator("canvas").first
    box = canvas.bounding_box()
    for y in range(12, int(box["height"]) - 8, step[1]):
        for x in range(12, int(box["width"]) - 8, step[0]):
            canvas.click(position={"x": x, "y": y})
            if view.locator(f".lam-panel:has(.lam-back) {shows}").count():
                return
    raise AssertionError(f"no click led to {shows!r}")


def visit(page: Page, address: str, state: Path) -> None:
    lab = Lab(page, address.split("/lab")[0], state)
    page.goto(address)
    page.wait_for_function(READY, timeout=120_000)
    lab.run("application:toggle-left-area", optional=True)
    page.screenshot(path=PICTURES / "opened.png")
    lab.run_all()
    page.wait_for_timeout(2000)
    page.screenshot(path=PICTURES / "running.png")
    lab.wait_done(300)
    failed = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert failed.count() == 0, failed.all_inner_texts()
    for theme in ("Light", "Dark"):
        lab.theme(theme)
        look_at_views(lab, page, theme.lower())
    lab.theme("Light")
    view = page.locator(".lam-root").first
    view.scroll_into_view_if_needed()
    view.get_by_role("button", name="by kernel").click()
    click_until(view, ":text('Kernel program')", (40, 18))
    view.screenshot(path=PICTURES / "clicked-kernel.png")
    click_until(view, "h4:has-text('→') ~ ul .lam-apart .lam-reason", (14, 26))
    view.screenshot(path=PICTURES / "clicked-edge.png")
    for name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(800)
        wide, inside = view.evaluate("(e) => [e.clientWidth, e.scrollWidth]")
        assert inside <= wide, f"{name}: {inside} px in {wide} px"
        view.screenshot(path=PICTURES / f"{name}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    assert lab.errors == [], lab.errors
    assert lab.external == [], lab.external
    lab.run("docmanager:save")
    page.wait_for_timeout(2000)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    page.wait_for_timeout(1000)
    page.reload()
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    page.wait_for_timeout(6000)
    page.screenshot(path=PICTURES / "reopened.png")
    twins = page.locator(".jp-OutputArea-output img[alt^='Fusion graph']")
    assert twins.count() >= 1, "no static twin on the reopened page"
    twins.first.scroll_into_view_if_needed()
    box = twins.first.bounding_box()
    assert twins.first.is_visible() and box["width"] > 200, box
    page.screenshot(path=PICTURES / "reopened-twin.png")
    assert "rror displaying widget" not in page.locator(".jp-Notebook").inner_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, help="a clone that is there already")
    wanted = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        state = Path(folder)
        tree = wanted.tree or state / "lamina"
        if wanted.tree is None:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
        process, address = start(tree, state)
        try:
            browser = playwright.chromium.launch(
                executable_path=machine.chromium(), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            visit(page, address, state)
            browser.close()
        finally:
            process.terminate()
            process.wait(30)
    print(f"pictures: {PICTURES}")


if __name__ == "__main__":
    main()
