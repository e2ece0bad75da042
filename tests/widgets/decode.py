"""A second reader of the frames, written from PROTOCOL.md and not from wire.py."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH = {0: 0, 2: 7, 3: 7, 4: 8, 5: 7, 6: 8, 7: 2, 8: 4}


@dataclass
class Decoded:
    kind: int
    seq: int
    count: int
    columns: list[np.ndarray[Any, Any]]
    document: dict[str, Any]


def decode(frame: bytes) -> Decoded:
    magic, version, kind, flags, seq, count = struct.unpack("<IBBHII", frame[:16])
    assert magic == 0x464D414C and version == 1
    body = zlib.decompress(frame[16:]) if flags & 1 else frame[16:]
    if kind == 1:
        assert len(body) == count
        return Decoded(kind, seq, count, [], json.loads(body))
    columns = np.frombuffer(body, "<f8").reshape(WIDTH[kind], count)
    return Decoded(kind, seq, count, list(columns), {})


def documents(frames: list[bytes]) -> dict[str, dict[str, Any]]:
    """The last document of each type."""
    found = [decode(f).document for f in frames if f[5] == 1]
    return {document["type"]: document for document in found}


def rows(frames: list[bytes], kind: int) -> np.ndarray[Any, Any]:
    """All rows of a kind, one row of columns each; empty where there are none."""
    parts = [np.stack(decode(f).columns) for f in frames if f[5] == kind]
    return np.concatenate(parts, axis=1) if parts else np.zeros((WIDTH[kind], 0))
