"""What must never stand in the repository: paths of one machine, addresses of registries."""

from __future__ import annotations

import re

from sources import below, name

BINARY = {".png", ".npz", ".npy", ".gz", ".ico", ".woff2", ".safetensors"}
# Spelled so that this file does not match itself.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.~-])/(?:root|work)/",
            r"/home/(?!user\b|you\b|ada\b)\w",
            r"/Users/\w",
            r"pypi\.(?:org|io)|pythonhosted\.",
            r"registry\.(?:npm|yarn)\w*\.",
            r"/opt/(?:pypi|wheels)",
            r"\bsub-?agents?\b",
        ]
    )
)


def test_no_forbidden_words():
    wrong = []
    for path in below(""):
        if path.suffix in BINARY or path.name == "test_words.py":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


def test_text_files_end_with_one_newline():
    wrong = []
    for path in below(
        "", ".h", ".cpp", ".mm", ".py", ".pyi", ".md", ".toml", ".ts", ".tsx", ".yml"
    ):
        text = path.read_text()
        if text and (not text.endswith("\n") or text.endswith("\n\n") or "\r" in text):
            wrong.append(name(path))
    assert not wrong, wrong
