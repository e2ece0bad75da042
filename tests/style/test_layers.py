"""Who may include whom. Data flows one way; `execute` alone joins plan and device."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from sources import ROOT, below, name

CORE = ROOT / "backend" / "core"

# Layer -> what its files may include, as path prefixes; a layer always sees itself.
LAYERS = {
    "base": (),
    "trace": ("base/",),
    "kernels": ("base/", "ops/elementwise_row.h"),
    "devices": ("base/", "trace/trace.h", "kernels/", "graph/params.h"),
    "graph": ("base/", "trace/trace.h", "kernels/", "devices/device.h", "devices/pool.h"),
    "ops": ("base/", "graph/", "kernels/", "devices/device.h"),
    "transforms": ("base/", "graph/", "kernels/", "ops/ops.h"),
    "schedule": ("base/", "graph/", "kernels/", "trace/trace.h", "devices/device.h"),
    "execute": (
        "base/",
        "trace/",
        "kernels/",
        "graph/",
        "schedule/",
        "devices/device.h",
        "devices/pool.h",
    ),
    "io": ("base/", "graph/", "ops/ops.h"),
}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def test_every_core_folder_has_a_layer():
    assert {p.relative_to(CORE).parts[0] for p in below("backend/core")} <= LAYERS.keys()


def test_includes_point_down():
    wrong = []
    for path in below("backend/core", ".h", ".cpp", ".def"):
        layer = path.relative_to(CORE).parts[0]
        seen = (f"{layer}/", *LAYERS[layer])
        for include in INCLUDE.findall(path.read_text()):
            if not include.startswith(seen):
                wrong.append(f"{name(path)}: {include}")
    assert not wrong, "\n".join(wrong)


def test_core_knows_no_python():
    wrong = [
        name(path)
        for path in below("backend/core", ".h", ".cpp")
        if re.search(r"#\s*include\s+[<\"](pybind11/|Python\.h)", path.read_text())
    ]
    assert not wrong


def test_includes_are_complete_paths():
    """`#include "base/dtype.h"`, never `"dtype.h"` or `"../base/dtype.h"`."""
    wrong = [
        f"{name(path)}: {include}"
        for path in below("backend/core", ".h", ".cpp")
        for include in INCLUDE.findall(path.read_text())
        if not (CORE / include).exists()
    ]
    assert not wrong, "\n".join(wrong)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


ENGINE = re.compile(r"^lamina\.(_core|core|nn|optimizers)(\.|$)")


def test_views_and_analysis_know_no_engine():
    """They see recordings only, so that a saved one can be looked at where no engine runs."""
    paths = [p for p in below("widgets", ".py") if p.parent.name == "widgets"]
    paths += below("workbench/analysis", ".py")
    wrong = [f"{name(p)}: {i}" for p in paths for i in sorted(imports(p)) if ENGINE.match(i)]
    assert not wrong, "\n".join(wrong)


def test_engine_knows_no_workbench():
    face = {"backend/python/__init__.py", "backend/python/__main__.py"}
    wrong = [
        f"{name(p)}: {i}"
        for p in below("backend/python", ".py")
        if name(p) not in face
        for i in sorted(imports(p))
        if i.startswith(("lamina.workbench", "lamina.widgets"))
    ]
    assert not wrong, "\n".join(wrong)
