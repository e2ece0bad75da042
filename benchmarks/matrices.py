"""Factorisations of batches on a GPU and on the CPU of its machine: of many small
matrices, and of as few large ones as still run on the GPU (`text_pays`, ops/linalg/linalg_text.h).

`python -m benchmarks.matrices --device cuda --out benchmarks/results` writes one page.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
from collections.abc import Callable
from pathlib import Path

import lamina.core as mx
from lamina import _core

from .device import times

# Of side n, batches of fewer than n / the first run on the CPU, and all of sides beyond the second.
LIMITS = {
    "cholesky": (8, 1024),
    "inv": (8, 1024),
    "qr": (16, 1024),
    "svd": (4, 256),
    "eigh": (8, 512),
    "eig": (8, 512),
}
FAR = ((1024, 16), (256, 64))
SIDES = (128, 256, 512)


def seconds(name: str, x: mx.array, device: mx.Device, repeats: int) -> float:
    f: Callable[..., object] = getattr(mx.linalg, name)
    # x + 0 is made anew by each call, so that no result is found again.
    return statistics.median(
        times(lambda: mx.eval(f(mx.add(x, 0, stream=device), stream=device)), repeats)
    )


def lines(repeats: int) -> list[str]:
    out = [
        "| operation | batch | side | GPU ms | CPU ms | over the GPU's |",
        "|---|---|---|---|---|---|",
    ]
    for name, (per_side, most) in LIMITS.items():
        border = tuple((side // per_side, side) for side in SIDES if side <= most)
        for batch, side in FAR + border:
            a = mx.random.normal((batch, side, side))
            x = a @ mx.swapaxes(a, -1, -2) / side + mx.eye(side)
            mx.eval(x)
            gpu, cpu = (seconds(name, x, d, repeats) * 1e3 for d in (mx.gpu, mx.cpu))
            out.append(f"| {name} | {batch} | {side} | {gpu:.2f} | {cpu:.2f} | {cpu / gpu:.2f} |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrices", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the page; else it is printed")
    options = parser.parse_args()
    _core._set_default_device(_core._device_named(options.device))
    name, day = str(mx.device_info()["device_name"]), datetime.date.today().isoformat()
    command = f"`python -m benchmarks.matrices --device {options.device}`"
    about = (
        f"{command}, float32, medians of {options.repeats}, copies to the CPU and back included."
    )
    text = "\n".join([f"# {name}: factorisations, {day}", "", about, "", *lines(options.repeats)])
    if options.out is None:
        print(text)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    page = options.out / f"{day}-{name.lower().replace(' ', '-')}-matrices.md"
    page.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
