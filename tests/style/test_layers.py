"""Who may include whom. Data flows one way; `execute` alone joins plan and device."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from sources import ROOT, below, name

CORE = ROOT / "backend" / "core"

# The elementwise rows: formulas, instantiated for every instruction set and for the scheduler. They
# are data that lies with the operations and include nothing but base/.
ROWS = ("ops/elementwise_row.h", "ops/unary.h", "ops/binary.h", "ops/ternary.h")
DEVICE = ("devices/device.h", "devices/pool.h")
TRACE = ("trace/trace.h",)

# Layer -> what its files may include, as path prefixes; a layer always sees itself.
LAYERS = {
    "base": (),
    "trace": ("base/",),
    "kernels": ("base/", *ROWS),
    "devices": ("base/", "kernels/", "graph/params.h", *ROWS, *TRACE),
    "graph": ("base/", "kernels/", *DEVICE, *TRACE),
    "ops": ("base/", "kernels/", "graph/", "devices/device.h"),
    "transforms": ("base/", "kernels/", "graph/", "ops/ops.h", "ops/rules.h"),
    "schedule": ("base/", "kernels/", "graph/", "devices/device.h", *TRACE),
    "execute": ("base/", "kernels/", "graph/", "schedule/", "trace/", *DEVICE),
    "io": ("base/", "graph/", "ops/"),
    "custom": (
        "base/",
        "graph/",
        "kernels/",
        "ops/ops.h",
        "ops/rules.h",
        "transforms/transforms.h",
    ),
    "capi": (
        "base/",
        "custom/",
        "devices/device.h",
        "execute/evaluate.h",
        "graph/array.h",
        "ops/ops.h",
    ),
}
# A structured operation's own kernels (ops/matmul/, ...) use what the CPU's folder offers kernels.
STRUCTURED = re.compile(r"ops/\w+/")


def may_include(path: Path) -> tuple[str, ...]:
    inside = path.relative_to(CORE).as_posix()
    layer = inside.split("/")[0]
    extra = ("devices/cpu/",) if STRUCTURED.match(inside) else ()
    return (f"{layer}/", *LAYERS[layer], *extra)


INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def test_every_core_folder_has_a_layer():
    assert {p.relative_to(CORE).parts[0] for p in below("backend/core")} <= LAYERS.keys()


def test_includes_point_down():
    wrong = []
    for path in below("backend/core", ".h", ".cpp", ".mm", ".def"):
        for include in INCLUDE.findall(path.read_text()):
            if not include.startswith(may_include(path)):
                wrong.append(f"{name(path)}: {include}")
    assert not wrong, "\n".join(wrong)


def test_rows_are_data():
    wrong = [
        f"{row}: {include}"
        for row in ROWS
        for include in INCLUDE.findall((CORE / row).read_text())
        if not include.startswith(("base/", "devices/cpu/simd.h", *ROWS))
    ]
    assert not wrong, "\n".join(wrong)


def test_core_knows_no_python():
    wrong = [
        name(path)
        for path in below("backend/core", ".h", ".cpp", ".mm")
        if re.search(r"#\s*include\s+[<\"](pybind11/|Python\.h)", path.read_text())
    ]
    assert not wrong


def test_includes_are_complete_paths():
    """`#include "base/dtype.h"`, never `"dtype.h"` or `"../base/dtype.h"`."""
    wrong = [
        f"{name(path)}: {include}"
        for path in below("backend/core", ".h", ".cpp", ".mm")
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
