"""Predicted bytes of twenty kernels against the traffic that an NVIDIA GPU's counters see.

`python -m benchmarks.counters --mib 64 1024 --out benchmarks/results` runs `benchmarks.device
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

READ, WRITTEN = "dram__bytes_read.sum", "dram__bytes_write.sum"
CACHE_WRITTEN = "lts__t_sectors_srcunit_tex_op_write.sum"  # of 32 bytes
SECTOR = 32
ALLOWED = 0.05


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


def parsed(text: str) -> tuple[list[dict[str, object]], list[dict[str, float]]]:
    """The cases as they were listed, and the counters of every kernel, both in order."""
    cases = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    table = [line for line in text.splitlines() if line.startswith('"')]
    kernels = []
    for row in csv.DictReader(io.StringIO("\n".join(table))):
        if row["ID"]:  # the row below the names has the units
            names = (READ, WRITTEN, CACHE_WRITTEN)
            kernels.append({m: float(row[m].replace(",", "")) for m in names})
            kernels[-1][CACHE_WRITTEN] *= SECTOR
    return cases, kernels


def table(mib: int) -> list[str]:
    cases, kernels = parsed(run(mib))
    kernels = kernels[len(kernels) - sum(int(str(c["launches"])) for c in cases) :]
    lines = [
        f"## {mib} MiB",
        "",
        "| kernel | predicted | memory read + written | of predicted | read + sent to the cache "
        "| of predicted |",
        "|---|---|---|---|---|---|",
    ]
    at = 0
    for case in cases:
        mine = kernels[at : at + int(str(case["launches"]))]
        at += len(mine)
        wanted = float(str(case["bytes"]))
        memory = sum(k[READ] + k[WRITTEN] for k in mine)
        cache = sum(k[READ] + k[CACHE_WRITTEN] for k in mine)
        shares = [f"{x / wanted:.3f}{'' if abs(x / wanted - 1) <= ALLOWED else ' (!)'}"
                  for x in (memory, cache)]  # fmt: skip
        lines.append(
            f"| {case['case']} | {wanted:.0f} | {memory:.0f} | {shares[0]} | {cache:.0f} "
            f"| {shares[1]} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--out", type=Path, help="folder for the page; else it is printed")
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    command = " ".join(["python", "-m", "benchmarks.counters", *sys.argv[1:]])
    parts = [
        f"# Predicted bytes and the counters of the GPU, {day}",
        f"`{command}`. (!): more than {ALLOWED:.0%} off.",
        *("\n".join(table(mib)) for mib in options.mib),
    ]
    text = "\n\n".join(parts) + "\n"
    if options.out is None:
        print(text)
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{day}-gpu-counters.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
