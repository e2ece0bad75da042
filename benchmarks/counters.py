"""Predicted bytes of twenty kernels against the traffic that an NVIDIA GPU's counters see.

`python -m benchmarks.counters --mib 64 256 1024 --out benchmarks/results` runs `benchmarks.device
--list` under Nsight Compute (`ncu`), which empties the caches before each kernel. What a kernel
wrote last may still lie in the cache when it ends: the counters of memory then miss up to the
cache's size, which is why the bytes that the kernel sends to the cache are counted too.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

READ, WRITTEN = "dram__bytes_read.sum", "dram__bytes_write.sum"
CACHE_WRITTEN = "lts__t_sectors_srcunit_tex_op_write.sum"  # of 32 bytes
SECTOR = 32
MIB = 1 << 20
ALLOWED = 0.05

Row = dict[str, Any]


def run(mib: int) -> str:
    ncu = shutil.which("ncu")
    if not ncu:
        raise SystemExit("no ncu on PATH: it comes with NVIDIA's toolkit")
    command = [ncu, "--clock-control", "none", "--csv", "--page", "raw", "--print-units", "base"]
    command += ["--metrics", ",".join((READ, WRITTEN, CACHE_WRITTEN))]
    command += [sys.executable, "-m", "benchmarks.device", "--device", "cuda"]
    command += ["--mib", str(mib), "--list"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return done.stdout


def parsed(text: str) -> tuple[Row, list[Row], list[dict[str, float]]]:
    """The device, the cases as they were listed, and the counters of every kernel, in order."""
    said, *cases = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    table = [line for line in text.splitlines() if line.startswith('"')]
    kernels = []
    for row in csv.DictReader(io.StringIO("\n".join(table))):
        if row["ID"]:  # the row below the names has the units
            names = (READ, WRITTEN, CACHE_WRITTEN)
            kernels.append({m: float(row[m].replace(",", "")) for m in names})
            kernels[-1][CACHE_WRITTEN] *= SECTOR
    return said, cases, kernels


def why(predicted: float, writes: int, memory: float, l2: int) -> str:
    """Why the bytes in memory are not those predicted; empty where they are, to ALLOWED."""
    if abs(memory / predicted - 1) <= ALLOWED:
        return ""
    missing = predicted - memory
    if missing < 0:
        return f"{-missing / MIB:.1f} MiB more than predicted: not explained"
    held = min(writes, l2)
    if missing > held:
        return (
            f"{missing / MIB:.1f} MiB are missing, and the L2 cache of {l2 / MIB:.0f} MiB can hold "
            f"{held / MIB:.1f} of what is written: not explained"
        )
    return (
        f"of {writes / MIB:.1f} MiB written, {missing / MIB:.1f} are still in the L2 cache of "
        f"{l2 / MIB:.0f} MiB"
    )


def table(mib: int, text: str) -> list[str]:
    said, cases, kernels = parsed(text)
    kernels = kernels[len(kernels) - sum(c["launches"] for c in cases) :]
    lines = [
        f"## {mib} MiB",
        "",
        "| kernel | predicted | memory read + written | of predicted | why "
        "| read + sent to the cache | of predicted |",
        "|---|---|---|---|---|---|---|",
    ]
    at = 0
    for case in cases:
        mine = kernels[at : at + case["launches"]]
        at += len(mine)
        wanted = case["bytes"]
        memory = sum(k[READ] + k[WRITTEN] for k in mine)
        cache = sum(k[READ] + k[CACHE_WRITTEN] for k in mine)
        shares = [f"{x / wanted:.3f}{'' if abs(x / wanted - 1) <= ALLOWED else ' (!)'}"
                  for x in (memory, cache)]  # fmt: skip
        reason = why(wanted, case["writes"], memory, said["l2"])
        lines.append(
            f"| {case['case']} | {wanted:.0f} | {memory:.0f} | {shares[0]} | {reason} "
            f"| {cache:.0f} | {shares[1]} |"
        )
    return lines


BELOW = (
    "What a kernel writes goes to the L2 cache first, and to memory when the cache needs the room: "
    "when the kernel ends, up to the cache's size of it is not yet counted in memory. The less a "
    "case writes, the larger is that part of it. The last two columns count what was sent to the "
    "cache instead, which misses nothing."
)


def page(device: str, mibs: list[int], texts: list[str], command: str) -> str:
    parts = [
        f"# {device}: predicted bytes and the GPU's counters, {datetime.date.today().isoformat()}",
        f"`{command}`. (!): more than {ALLOWED:.0%} off.",
        *("\n".join(table(mib, text)) for mib, text in zip(mibs, texts, strict=True)),
        BELOW,
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--out", type=Path, help="folder for the page; else it is printed")
    options = parser.parse_args()
    texts = [run(mib) for mib in options.mib]
    device = str(parsed(texts[0])[0]["device"])
    command = " ".join(["python", "-m", "benchmarks.counters", *sys.argv[1:]])
    text = page(device, options.mib, texts, command)
    if options.out is None:
        print(text)
        return
    name = f"{datetime.date.today().isoformat()}-{device.lower().replace(' ', '-')}-counters.md"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
