"""Takes docs/images/first_look-{light,dark}.png: the tutorial's profiled step in real JupyterLab.

Needs Chromium, as the browser tests do.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS / "widgets"), str(TESTS / "tools")]

import lab as jupyter  # noqa: E402
import machine  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

IMAGES = ROOT / "docs" / "images"
CELL = "%%mlx_profile -o step"
SCROLL = "i => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')"
INDEX = (
    "text => window.jupyterapp.shell.currentWidget.content.widgets"
    ".findIndex(w => w.model.sharedModel.getSource().startsWith(text))"
)


def take(page, path: Path) -> None:
    """The cell and its view, in few colours: a README has to load fast."""
    from PIL import Image

    cell = page.locator(".jp-Cell:visible", has_text=CELL).first.bounding_box()
    view = page.locator(".jp-Cell:visible", has_text=CELL).locator(".lam-root").first
    end = view.bounding_box()
    clip = {
        "x": cell["x"],
        "y": cell["y"],
        "width": end["x"] + end["width"] + 8 - cell["x"],
        "height": end["y"] + end["height"] + 8 - cell["y"],
    }
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder)
        shutil.copy(ROOT / "notebooks" / "00_first_look.ipynb", root / "first.ipynb")
        with jupyter.server(root) as address:
            browser = playwright.chromium.launch(
                executable_path=machine.chromium(), args=["--no-sandbox"]
            )
            page = browser.new_page(
                viewport={"width": 1240, "height": 900}, device_scale_factor=1.5
            )
            lab = jupyter.Lab(page, address, root)
            lab.open("first.ipynb")
            lab.run_all()
            page.wait_for_timeout(2000)
            while lab.busy():
                page.wait_for_timeout(300)
            for theme in ("Light", "Dark"):
                lab.theme(theme)
                for _ in range(3):  # cells get their height only when they are first shown
                    page.evaluate(SCROLL, page.evaluate(INDEX, CELL))
                    page.wait_for_timeout(1000)
                page.mouse.move(5, 5)
                take(page, IMAGES / f"first_look-{theme.lower()}.png")
            browser.close()


if __name__ == "__main__":
    main()
