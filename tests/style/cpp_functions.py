"""Lengths of C++ functions, by matching braces: no parser, but no compiler needed either."""

from __future__ import annotations

import re
from collections.abc import Iterator

NOISE = re.compile(
    r"""//[^\n]*|/\*.*?\*/                          # comments
      |R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"           # raw strings
      |"(?:\\.|[^"\\\n])*"                          # strings
      |(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'          # characters, but not 1'000
      |^[ \t]*\#(?:[^\n]*\\\n)*[^\n]*               # preprocessor lines with their continuations
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
SCOPE = re.compile(r"\b(namespace|class|struct|union|extern)\b(?!.*\))", re.DOTALL)
ALIGNAS = re.compile(r"\balignas\s*\([^()]*\)")
NAME = re.compile(r"(?!requires|decltype|sizeof)\b([~\w:]+|operator\s*\S+)\s*\(")
MEMBER_INIT = re.compile(r"\)\s*(noexcept\s*)?:[^:].*\w$", re.DOTALL)


def blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, first line, lines) of each outermost function; lambdas count in their function."""
    text = NOISE.sub(blank, text)
    position = start = 0
    while position < len(text):
        char = text[position]
        if char in ";}":
            start = position + 1
        elif char == "{":
            head = ALIGNAS.sub("", text[start:position])
            if SCOPE.search(head) and "=" not in head.rsplit(")", 1)[-1]:
                start = position + 1
            else:
                end = closing(text, position)
                if head.count("(") != head.count(")") or MEMBER_INIT.search(head):
                    pass  # a default argument or a member's initialiser: the body is to come
                elif "(" in head:
                    first = start + len(head) - len(head.lstrip())
                    found = NAME.search(head)
                    line = text.count("\n", 0, first) + 1
                    yield found[1] if found else "?", line, text.count("\n", first, end) + 1
                    start = end + 1
                position = end
        position += 1


def closing(text: str, position: int) -> int:
    depth = 0
    for index in range(position, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(text)
