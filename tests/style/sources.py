"""The project's own files, as the style tests see them."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = {"build", "node_modules", "static", "artifacts", "__pycache__", ".git", ".venv"}


@functools.cache
def files() -> tuple[Path, ...]:
    """All files that are, or would be, under version control."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = [ROOT / name for name in said.stdout.splitlines()]
    except (OSError, subprocess.CalledProcessError):
        found = [p for p in ROOT.rglob("*") if not BUILT & set(p.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in found if path.is_file()))


def below(folder: str, *suffixes: str) -> list[Path]:
    """Files under a folder ("" = all), with one of the suffixes if any are given."""
    start = ROOT / folder
    return [p for p in files() if start in p.parents and (not suffixes or p.suffix in suffixes)]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
