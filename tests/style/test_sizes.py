"""A size budget: what one person can hold in mind at once."""

from __future__ import annotations

import ast

from cpp_functions import functions
from sources import below, name

MAX_FILE, MAX_FUNCTION = 600, 80
CODE = (".h", ".cpp", ".mm", ".def", ".py", ".ts", ".tsx", ".css", ".mjs")


def test_files_are_short():
    long = [f"{name(p)}: {len(p.read_text().splitlines())} lines" for p in below("", *CODE)]
    assert not [line for line in long if int(line.split(": ")[1].split()[0]) > MAX_FILE]


def test_python_functions_are_short():
    long = [
        f"{name(path)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in below("", ".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_cpp_functions_are_short():
    long = [
        f"{name(path)}:{line}: {function} has {lines} lines"
        for path in below("", ".h", ".cpp", ".mm")
        for function, line, lines in functions(path.read_text())
        if lines > MAX_FUNCTION and not function.endswith("_rows")  # a table is data
    ]
    assert not long, "\n".join(long)


def test_the_measure_itself():
    text = """
namespace a {
// not { counted
struct S { int f(int x) const { return x; } };
template <class T> requires (sizeof(T) > 1)
T g(T x) {
  auto h = [&] { return '{'; };

  return x;
}
int table[] = {1, 2};
S::S(int a = {}) : a_{a}, b_(2) {
  go();
}
}  // namespace a
"""
    assert list(functions(text)) == [("f", 4, 1), ("g", 5, 6), ("S::S", 12, 3)]
