"""Lays the import package out in one folder, as links into the source tree.

The sources lie where a reader looks for them (backend/python, workbench, widgets); tools that want
one folder per package (mypy, a run with another compiled module) get it from here.
"""

import argparse
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"": "backend/python", "workbench": "workbench", "widgets": "widgets"}
LEFT_OUT = {"__pycache__", "node_modules", "src", ".ipynb_checkpoints"}


def lay_out(site: Path, core: Path | None = None) -> Path:
    """Makes site/lamina anew. With `core` the module and what was built with it come from there."""
    package = site / "lamina"
    shutil.rmtree(package, ignore_errors=True)
    built = {entry.name: entry for entry in core.iterdir()} if core else {}
    for inner, source in FOLDERS.items():
        folder = package / inner
        folder.mkdir(parents=True, exist_ok=True)
        for entry in (ROOT / source).iterdir():
            module = core is not None and entry.name.startswith("_core.cp")
            if entry.name not in LEFT_OUT and not module and (inner or entry.name not in built):
                (folder / entry.name).symlink_to(entry)
    for name, entry in built.items():
        (package / name).symlink_to(entry.resolve())
    return package


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--core", type=Path, help="folder of the compiled module to use")
    arguments = parser.parse_args()
    lay_out(arguments.site, arguments.core)
