"""Damages files of arrays and loads them: each is read, or is a FileError that names it.

    nice python tests/tools/fuzz_files.py --count 100000                    # of each format
    python tests/tools/fuzz_files.py --format gguf --first 4711 --count 1   # one again

File number i of a format and seed is always the same one. Files are read in a process of its own,
with a bound on its memory; one that crashes, hangs, or takes more than the bound is counted, and
the next process goes on behind it. Every element of what was read is looked at.
"""

from __future__ import annotations

import argparse
import io
import mmap
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORMATS = ("npy", "npz", "safetensors", "gguf")
SPARE = 1 << 30  # address space beyond what a process has when it starts
PEAK = 64 << 20  # memory of arrays that a file of a few kilobytes may take
HANG = 60.0  # seconds for one file
EDGES = (0, 1, 2, 7, 31, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, -1)
MEANING = b"0123456789{}[]()\",:'\\<>|=uifbcFIBOeE-+. \0\n\xff"
TEXTS = (
    b"99999999999999999999", b"-1", b"18446744073709551615", b"4611686018427387904", b"1e9",
    b"F64", b"BOOL", b"I8", b"BF16", b"'<f8'", b"'|b1'", b"'>c8'", b"'|O'", b"True",
    b"__metadata__", b"\\u0000", b"\\ud800", b"GGUF", b"\x93NUMPY\x02\x00", b"PK\x05\x06",
)  # fmt: skip

# --- whole files ----------------------------------------------------------------------------------


def npy_files() -> list[bytes]:
    import numpy as np

    files = []
    for a in (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)),
        np.arange(5) > 2,
        np.array(1.5),
        np.ones((3, 0), np.complex64),
        np.arange(70_000, dtype=np.uint32),  # large enough to stay in the file
    ):
        out = io.BytesIO()
        np.save(out, a)
        files.append(out.getvalue())
    return files


def npz_files() -> list[bytes]:
    files = []
    members = npy_files()[:5]
    for pack in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", pack) as archive:
            for i, content in enumerate(members):
                archive.writestr(f"arr_{i}.npy", content)
        files.append(out.getvalue())
    return files


def safetensors_files() -> list[bytes]:
    import lamina.core as mx

    names = ["bool_", "uint8", "int16", "int64", "bfloat16", "float32", "float64", "complex64"]
    files = []
    for arrays in (
        {"weight": mx.arange(6), "mask": mx.arange(3) > 1, "bias": mx.zeros((2, 0))},
        {name: mx.ones((2, 3)).astype(getattr(mx, name)) for name in names},
        {"large": mx.arange(20_000), "x": mx.array(1.5)},
        {},
    ):
        out = io.BytesIO()
        mx.save_safetensors(out, arrays, {"format": "pt", "é": 'a"b'})
        files.append(out.getvalue())
    return files


GGUF_BLOCKS = {2: (32, 18), 3: (32, 20), 8: (32, 34), 10: (256, 84), 12: (256, 144), 14: (256, 210)}


def gguf_of(tensors: list[tuple[str, tuple[int, ...], int, int]], alignment: int) -> bytes:
    """Of tensors (name, shape, type, bytes), and metadata of all kinds."""

    def text(s: str) -> bytes:
        return struct.pack("<Q", len(s)) + s.encode()

    def value(key: str, kind: int, body: bytes) -> bytes:
        return text(key) + struct.pack("<I", kind) + body

    values = [
        value("text", 8, text("hello")),
        value("texts", 9, struct.pack("<IQ", 8, 2) + text("x") + text("yz")),
        value("floats", 9, struct.pack("<IQ", 6, 3) + bytes(12)),
        value("bools", 9, struct.pack("<IQ", 7, 3) + b"\0\1\2"),
        value("double", 12, struct.pack("<d", 1.5)),
        value("byte", 0, b"\7"),
        value("general.alignment", 4, struct.pack("<I", alignment)),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values)
    body = b""
    for name, shape, kind, size in tensors:
        body += b"\0" * (-len(body) % alignment)
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", kind, len(body))
        body += bytes(i * 37 % 251 for i in range(size))
    return head + b"\0" * (-len(head) % alignment) + body


def gguf_files() -> list[bytes]:
    import lamina.core as mx

    out = io.BytesIO()
    mx.save_gguf(out, {"large": mx.arange(20_000), "x": mx.ones((2, 3)).astype(mx.float16)})
    blocks = [
        (f"{kind}.weight", (2, elements), kind, 2 * size)
        for kind, (elements, size) in GGUF_BLOCKS.items()
    ]
    plain = [("a", (2, 3), 0, 24), ("b", (5,), 1, 10), ("c", (3,), 24, 3), ("d", (), 27, 8)]
    return [out.getvalue(), gguf_of(blocks, 32), gguf_of(plain, 64), gguf_of([], 32)]


FILES: dict[str, Callable[[], list[bytes]]] = {
    "npy": npy_files,
    "npz": npz_files,
    "safetensors": safetensors_files,
    "gguf": gguf_files,
}

# --- damage ---------------------------------------------------------------------------------------


def place(r: random.Random, data: bytearray) -> int:
    """Anywhere, and more often in the first part, where the headers are."""
    near = min(len(data), r.choice((16, 64, 256, 1024)))
    return r.randrange(near if r.random() < 0.7 else len(data))


def damage_once(r: random.Random, data: bytearray, others: list[bytes]) -> None:
    if not data:
        data.extend(r.randbytes(r.randrange(40)))
        return
    at = place(r, data)
    size = r.choice((1, 2, 4, 8, 16, 100))
    match r.randrange(11):
        case 0:
            data[at] = r.randrange(256)
        case 1:
            data[at] ^= 1 << r.randrange(8)
        case 2:
            data[at] = r.choice(MEANING)
        case 3:
            width = r.choice((1, 2, 4, 8))
            number = (r.choice(EDGES) + r.randrange(-1, 2)) % (1 << 8 * width)
            data[at : at + width] = number.to_bytes(width, r.choice(("little", "little", "big")))
        case 4:
            del data[at : at + size]
        case 5:
            data[at:at] = data[at : at + size]
        case 6:
            data[at:at] = r.randbytes(size)
        case 7:
            del data[at if r.random() < 0.5 else r.randrange(len(data)) :]
        case 8:
            other = r.choice(others)
            start = r.randrange(max(len(other), 1))
            data[at : at + size] = other[start : start + size]
        case 9:
            text = r.choice(TEXTS)
            data[at : at + (len(text) if r.random() < 0.5 else 0)] = text
        case _:
            here = next((i for i in range(at, len(data)) if 48 <= data[i] < 58), None)
            if here is not None:
                data[here : here + 1] = r.choice(TEXTS[:5])


def damaged(kind: str, seed: int, number: int, files: list[bytes]) -> bytes:
    r = random.Random(f"{seed} {kind} {number}")
    base = r.choice(files)
    if kind == "npz" and r.random() < 0.4:
        return repacked(r, files)
    data = bytearray(base)
    for _ in range(r.choice((1, 1, 2, 3, 6))):
        damage_once(r, data, files)
    return bytes(data)


def repacked(r: random.Random, files: list[bytes]) -> bytes:
    """An archive whose checksums are right and whose members are not."""
    out = io.BytesIO()
    members = npy_files()[:5]
    with zipfile.ZipFile(out, "w", r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for i, content in enumerate(members[: r.randrange(1, 6)]):
            data = bytearray(content)
            for _ in range(r.randrange(3)):
                damage_once(r, data, members)
            name = r.choice((f"arr_{i}.npy", f"arr_{i}", "é.npy", "../up.npy", "a/b.npy", f"{i}/"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a name may be there twice
                archive.writestr(name, bytes(data))
    return out.getvalue()


# --- one file -------------------------------------------------------------------------------------


def outcome(kind: str, data: bytes, path: Path, by_path: bool) -> str:
    """ "read", "refused", or what is wrong."""
    import lamina.core as mx
    import numpy as np

    mx.reset_peak_memory()
    before = mx.get_active_memory()
    try:
        source: Any = path
        if by_path:
            path.write_bytes(data)
        else:
            source = io.BytesIO(data)
            source.name = path.name
        loaded = mx.load(source, format=kind)
        for x in [loaded] if kind == "npy" else loaded.values():
            if x.size == 0:  # NumPy has no axes of 2^62 elements beside one of none
                continue
            elements = np.array(x)
            if x.dtype == mx.bool_ and elements.view(np.uint8).max(initial=0) > 1:
                return "a bool is neither 0 nor 1"
        verdict = "read"
    except mx.FileError as e:
        first = str(e).splitlines()[0]
        if path.name not in first:
            return f"an error that does not name the file: {first}"
        if len(str(e)) > 2000:
            return f"an error of {len(str(e))} characters"
        verdict = "refused"
    except Exception as e:
        return f"{type(e).__name__}: {e}"[:300]
    took = mx.get_peak_memory() - before
    return verdict if took <= PEAK else f"took {took} bytes of memory"


def work(kind: str, seed: int, first: int, count: int, state: Path) -> None:
    """Examines files; before each its number is in `state`, and what is wrong on stdout."""
    files = FILES[kind]()
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        limit = pages * resource.getpagesize() + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    totals: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        open(state, "r+b") as f,
        mmap.mmap(f.fileno(), 24) as shown,
    ):
        for number in range(first, first + count):
            shown[:] = struct.pack("<qqq", number, totals["read"], totals["refused"])
            data = damaged(kind, seed, number, files)
            verdict = outcome(kind, data, Path(folder) / f"damaged.{kind}", number % 2 == 0)
            totals[verdict] += 1
            if verdict not in ("read", "refused"):
                print(f"{kind} {number}: {verdict}", flush=True)
        shown[:] = struct.pack("<qqq", first + count, totals["read"], totals["refused"])


# --- all files ------------------------------------------------------------------------------------


def watched(process: subprocess.Popen[str], state: Path) -> bool:
    """Waits for the process; whether it went on all the time."""
    last, since = b"", time.monotonic()
    while True:
        try:
            process.wait(timeout=HANG / 4)
            return True
        except subprocess.TimeoutExpired:
            now = state.read_bytes()
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > HANG:
                process.kill()
                process.wait()
                return False


def examine(kind: str, seed: int, first: int, count: int, script: str = __file__) -> Counter[str]:
    """How many files of a format were read, refused, or went wrong in which way."""
    totals: Counter[str] = Counter()
    end = first + count
    with tempfile.TemporaryDirectory() as folder:
        state, log = Path(folder) / "state", Path(folder) / "log"
        while first < end:
            state.write_bytes(struct.pack("<qqq", first, 0, 0))
            command = [sys.executable, script, "--worker", str(state), "--format", kind]
            command += ["--seed", str(seed), "--first", str(first), "--count", str(end - first)]
            with open(log, "w") as out:
                process = subprocess.Popen(command, stdout=out, text=True)
                went_on = watched(process, state)
            number, read, refused = struct.unpack("<qqq", state.read_bytes())
            totals["read"] += read
            totals["refused"] += refused
            for line in log.read_text().splitlines():
                print(line)
                totals["wrong"] += 1
            if number < end:
                what = f"ended with {process.returncode}" if went_on else f"{HANG:.0f} s for one"
                print(f"{kind} {number}: the process {what}")
                totals["crashed" if went_on else "hung"] += 1
            first = number + 1
    return totals


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds = args.format or list(FORMATS)
    if args.worker:
        work(kinds[0], args.seed, args.first, args.count, args.worker)
        return 0
    bad = 0
    for kind in kinds:
        start = time.monotonic()
        totals = examine(kind, args.seed, args.first, args.count)
        bad += sum(n for name, n in totals.items() if name not in ("read", "refused"))
        figures = ", ".join(f"{n} {name}" for name, n in totals.items())
        print(
            f"{kind}: {args.count} files, {figures}, {time.monotonic() - start:.0f} s", flush=True
        )
    return 1 if bad else 0


if __name__ == "__main__":
    # MKL's and OpenMP's threads take address space each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
