"""What a device reaches: bandwidth of kernels beside that of -x, and what a launch costs.

`python -m benchmarks.device --device cuda --out benchmarks/results` writes one page with the date,
the device and the command. Bytes are those the plan predicts; `--list` prints them for twenty
kernels, one kernel an evaluation, for a profiler that counts them (ncu --clock-control none).
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
from lamina import _core

MIB = 1 << 20
Case = Callable[[mx.array], mx.array]

CASES: dict[str, Case] = {
    "negative": mx.negative,
    "add a scalar": lambda x: x + 1.5,
    "x * x + x": lambda x: x * x + x,
    "gelu": lambda x: 0.5 * x * (1 + mx.erf(x * 0.70710678)),
    "tanh(exp(-x * x))": lambda x: mx.tanh(mx.exp(-x * x)),
    "sigmoid": mx.sigmoid,
    "where(x > 0, x, exp(x))": lambda x: mx.where(x > 0, x, mx.exp(x)),
    "to float16": lambda x: x.astype(mx.float16),
    "row plus column": lambda x: x + mx.arange(x.shape[1], dtype=mx.float32),
    "transpose": lambda x: mx.contiguous(x.T),
    "sum": lambda x: mx.sum(x),
    "sum of rows": lambda x: mx.sum(x, axis=1),
    "sum of columns": lambda x: mx.sum(x, axis=0),
    "max of rows": lambda x: mx.max(x, axis=1),
    "argmax of rows": lambda x: mx.argmax(x, axis=1),
    "mean of squares": lambda x: mx.mean(x * x),
    "softmax": lambda x: mx.softmax(x, axis=-1),
    "logsumexp": lambda x: mx.logsumexp(x, axis=-1),
    "layer norm": lambda x: mx.fast.layer_norm(x, None, None, 1e-5),
    "rms norm": lambda x: mx.fast.rms_norm(x, None, 1e-5),
}


def times(run: Callable[[], object], repeats: int) -> list[float]:
    for _ in range(5):
        run()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        out.append(time.perf_counter() - start)
    return out


def last_plan() -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(_core._plan_describe(_core._last_plan()))
    return plan


def kernels_sent() -> int:
    """Kernels that the CUDA device has sent; a launch of a plan may be several."""
    return int(_core._cuda_figures()["launches"])


def predicted(run: Callable[[], object]) -> tuple[int, int]:
    """Bytes that the plan of an evaluation says it reads, and writes."""
    run()
    launches = last_plan()["launches"]
    return sum(x["reads"] for x in launches), sum(x["writes"] for x in launches)


L2_CACHE_SIZE = 38  # of the driver's attributes of a device


def l2_bytes() -> int:
    """The size of the second cache of the CUDA device, which is open."""
    driver = ctypes.CDLL("libcuda.so.1")
    size = ctypes.c_int()
    if status := driver.cuDeviceGetAttribute(ctypes.byref(size), L2_CACHE_SIZE, 0):
        raise SystemExit(f"the driver does not say how large the L2 cache is: error {status}")
    return size.value


def listed(bytes_: int) -> None:
    """Runs each kernel once and prints a line of JSON each, the device first."""
    print(json.dumps({"device": mx.device_info()["device_name"], "l2": l2_bytes()}), flush=True)
    x = mx.random.normal((bytes_ // 4 // 4096, 4096))
    mx.eval(x)
    for name, case in CASES.items():
        before = kernels_sent()
        reads, writes = predicted(lambda c=case: mx.eval(c(x)))  # type: ignore[misc]
        row = {"case": name, "bytes": reads + writes, "writes": writes}
        print(json.dumps({**row, "launches": kernels_sent() - before}), flush=True)


def batch(case: Case, x: mx.array, count: int) -> None:
    """`count` evaluations in flight, each with memory of its own, waited for once."""
    for _ in range(count):
        mx.async_eval(case(x))
    mx.synchronize()


def bandwidth(name: str, bytes_: int, repeats: int) -> dict[str, object]:
    columns = 4096
    x = mx.random.normal((max(1, bytes_ // 4 // columns), columns))
    mx.eval(x)
    case = CASES[name]
    moved = sum(predicted(lambda: mx.eval(case(x))))
    count = max(1, min(50, (1 << 33) // max(moved, 1)))
    seconds = statistics.median(times(lambda: batch(case, x, count), repeats)) / count
    return {
        "case": name,
        "MiB": bytes_ // MIB,
        "bytes": moved,
        "us": seconds * 1e6,
        "GB/s": moved / seconds * 1e-9,
    }


# What one launch of a chain does; none can start before the one ahead of it has ended.
CHAINS: dict[str, Case] = {
    "kernels of one block": lambda y: mx.cumsum(y),
    "sums of 20,000 and what follows": lambda y: y / (1 + mx.sum(y)),
}
CHAIN_SIZES = {"kernels of one block": 64, "sums of 20,000 and what follows": 20_000}
ABOUT_CHAINS = (
    "Both include what the kernels do. Those of one block read and write 64 elements. All but one "
    "of the others read 20,000, divide them by the sums before and sum them, in several blocks and "
    "two phases: each block writes its part to memory and counts itself, and the last one to come "
    "reads the parts and adds them. That is several trips to memory, one after the other, for the "
    "one of a kernel of one block."
)


def launch_cost(name: str, length: int, repeats: int) -> float:
    """Microseconds a launch, in a plan of small kernels that wait for each other."""
    x = mx.ones((CHAIN_SIZES[name],)) * 1e-3
    mx.eval(x)

    def chain() -> None:
        y = x
        for _ in range(length):
            y = CHAINS[name](y)
        mx.eval(y)

    seconds = statistics.median(times(chain, repeats))
    return seconds / len(last_plan()["launches"]) * 1e6


def page(rows: list[dict[str, object]], cost: dict[str, float]) -> str:
    info = mx.device_info()
    copies = {r["MiB"]: r["GB/s"] for r in rows if r["case"] == "negative"}
    lines = [
        f"# {info['device_name']} ({info['architecture']}), {datetime.date.today().isoformat()}",
        "",
        f"`{' '.join(['python', '-m', 'benchmarks.device', *sys.argv[1:]])}`",
        "",
        "A launch in a replayed plan of kernels that wait for each other: "
        + ", ".join(f"{us:.2f} us ({name})" for name, us in cost.items())
        + ".",
        ABOUT_CHAINS,
        "",
        "Rates are predicted bytes over the median time; `of -x` is the share of the rate of -x,",
        "which reads and writes each element once, as a copy does.",
        "",
        "| kernel | MiB | predicted bytes | us | GB/s | of -x |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        share = float(str(r["GB/s"])) / float(str(copies.get(r["MiB"], r["GB/s"])))
        lines.append(
            f"| {r['case']} | {r['MiB']} | {r['bytes']} | {r['us']:.1f} | {r['GB/s']:.0f} "
            f"| {share:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="gpu", help="cpu, or a device's name; gpu: the best")
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, help="folder for the page; else it is printed")
    parser.add_argument(
        "--list", action="store_true", help="each kernel once, with its bytes (CUDA)"
    )
    options = parser.parse_args()
    number = _core._gpu() if options.device == "gpu" else _core._device_named(options.device)
    _core._set_default_device(number)
    if options.list:
        listed(options.mib[0] * MIB)
        return
    rows = [bandwidth(name, m * MIB, options.repeats) for m in options.mib for name in CASES]
    text = page(rows, {name: launch_cost(name, 100, options.repeats) for name in CHAINS})
    if options.out is None:
        print(text)
        return
    day = datetime.date.today().isoformat()
    name = str(mx.device_info()["device_name"]).lower().replace(" ", "-")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{day}-{name}-kernels.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
