"""lamina beside PyTorch on one NVIDIA GPU: a device copy, matrix products, a training step.

`python -m benchmarks.gpu --out benchmarks/results` writes one page with the date, the device and
the command. PyTorch's products are cuBLAS called directly; TF32 is off on both sides.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
from lamina import _core

from . import device, training
from .peers import torch

MIB = 1 << 20
SIZES = (256, 512, 1024, 2048, 4096, 8192)
# (label, a's shape, b's shape): what models ask for beside square products.
OTHERS = {
    "batch of 64, 512 x 64 x 512": ((64, 512, 64), (64, 64, 512)),
    "16 x 4096 x 4096": ((16, 4096), (4096, 4096)),
    "1 x 4096 x 4096": ((1, 4096), (4096, 4096)),
    "4096 x 4096 x 1000": ((4096, 4096), (4096, 1000)),
}
DTYPES = ("float32", "bfloat16", "float16")

Call = Callable[[], object]


def in_turn(
    calls: dict[str, Call], count: int, rounds: int, wait: dict[str, Call]
) -> dict[str, float]:
    """Median seconds of a call, of `count` that are waited for once; contenders in turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        for _ in range(3):
            call()
        wait[name]()
    for turn in range(rounds):
        order = list(calls) if turn % 2 else list(calls)[::-1]
        for name in order:
            start = time.perf_counter()
            for _ in range(count):
                calls[name]()
            wait[name]()
            taken[name].append((time.perf_counter() - start) / count)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def rate_of_copy(mib: int, rounds: int) -> float:
    """GB/s, bytes read and written, of a copy within the device's memory."""
    x = torch.empty(mib * MIB // 4, device="cuda").normal_()
    y = torch.empty_like(x)
    count = max(4, (1 << 33) // (2 * mib * MIB))
    call = {"torch": lambda: y.copy_(x)}
    seconds = in_turn(call, count, rounds, {"torch": torch.cuda.synchronize})["torch"]
    return 2 * mib * MIB / seconds * 1e-9


def bandwidth(mibs: list[int], rounds: int) -> list[str]:
    lines = [
        "| kernel | MiB | predicted bytes | us | GB/s | of a copy |",
        "|---|---|---|---|---|---|",
    ]
    for mib in mibs:
        copy = rate_of_copy(mib, rounds)
        lines.append(f"| copy | {mib} | {2 * mib * MIB} | | {copy:.0f} | |")
        for name in device.CASES:
            row = device.bandwidth(name, mib * MIB, rounds)
            lines.append(
                f"| {name} | {mib} | {row['bytes']} | {row['us']:.1f} | {row['GB/s']:.0f} "
                f"| {float(str(row['GB/s'])) / copy:.0%} |"
            )
    return lines


def product(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: str, rounds: int
) -> list[float]:
    """Seconds of lamina and of PyTorch, and the floating-point operations."""
    x, y = (mx.random.normal(s).astype(getattr(mx, dtype)) for s in shapes)
    tx, ty = (torch.randn(*s, device="cuda").to(getattr(torch, dtype)) for s in shapes)
    mx.eval(x, y)
    flops = 2.0 * shapes[0][-1] * shapes[1][-1]
    for n in shapes[0][:-1]:
        flops *= n
    count = int(min(200, max(5, 2e12 / flops)))
    calls: dict[str, Call] = {
        "lamina": lambda: mx.async_eval(x @ y),
        "torch": lambda: torch.matmul(tx, ty),
    }
    wait: dict[str, Call] = {"lamina": mx.synchronize, "torch": torch.cuda.synchronize}
    seconds = in_turn(calls, count, rounds, wait)
    return [seconds["lamina"], seconds["torch"], flops]


def products(rounds: int) -> list[str]:
    torch.backends.cuda.matmul.allow_tf32 = False
    lines = [
        "| product | dtype | lamina us | TFLOP/s | cuBLAS us | cuBLAS' time over lamina's |",
        "|---|---|---|---|---|---|",
    ]
    square = {f"{n} x {n} x {n}": ((n, n), (n, n)) for n in SIZES}
    for dtype in DTYPES:
        for name, shapes in {**square, **OTHERS}.items():
            mine, theirs, flops = product(shapes, dtype, rounds)
            lines.append(
                f"| {name} | {dtype} | {mine * 1e6:.1f} | {flops / mine * 1e-12:.0f} "
                f"| {theirs * 1e6:.1f} | {theirs / mine:.2f} |"
            )
    return lines


# Images, size, channels and filters of 3 x 3 convolutions: the digits net's, and a residual net's.
CONVOLUTIONS = (
    (64, 8, 1, 16),
    (64, 8, 16, 32),
    (1, 56, 64, 64),
    (8, 28, 128, 128),
    (32, 56, 64, 64),
    (32, 14, 256, 256),
    (128, 28, 128, 128),
)


def convolution(sizes: tuple[int, ...], dtype: str, rounds: int) -> list[tuple[float, float]]:
    """Seconds of lamina and of PyTorch: forward, and both gradients."""
    images, size, channels, filters = sizes
    x = mx.random.normal((images, size, size, channels)).astype(getattr(mx, dtype))
    w = mx.random.normal((filters, 3, 3, channels)).astype(getattr(mx, dtype))
    y = mx.conv2d(x, w, padding=1)
    mx.eval(x, w, y)
    of = {"device": "cuda", "dtype": getattr(torch, dtype)}
    last = {"memory_format": torch.channels_last}
    tx = torch.randn(images, channels, size, size, **of).to(**last)
    tw = torch.randn(filters, channels, 3, 3, **of).to(**last)
    ty = torch.nn.functional.conv2d(tx, tw, padding=1)

    def ours() -> None:
        mx.async_eval(mx.vjp(lambda x, w: mx.conv2d(x, w, padding=1), [x, w], [y])[1])

    def theirs() -> None:
        torch.ops.aten.convolution_backward(
            ty, tx, tw, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
        )

    forward: dict[str, Call] = {
        "lamina": lambda: mx.async_eval(mx.conv2d(x, w, padding=1)),
        "torch": lambda: torch.nn.functional.conv2d(tx, tw, padding=1),
    }
    wait: dict[str, Call] = {"lamina": mx.synchronize, "torch": torch.cuda.synchronize}
    flops = 18.0 * images * size * size * channels * filters
    count = int(min(100, max(5, 1e12 / flops)))
    out = []
    for calls in (forward, {"lamina": ours, "torch": theirs}):
        seconds = in_turn(calls, count, rounds, wait)
        out.append((seconds["lamina"], seconds["torch"]))
    return out


def convolutions(rounds: int) -> list[str]:
    torch.backends.cudnn.allow_tf32 = False
    lines = [
        "| images, size, channels, filters | dtype | lamina us | PyTorch us | over lamina's "
        "| gradients: lamina us | PyTorch us | over lamina's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dtype in ("float32", "bfloat16"):
        for sizes in CONVOLUTIONS:
            cells = [
                f"{mine * 1e6:.1f} | {theirs * 1e6:.1f} | {theirs / mine:.2f}"
                for mine, theirs in convolution(sizes, dtype, rounds)
            ]
            lines.append(f"| {', '.join(map(str, sizes))} | {dtype} | {' | '.join(cells)} |")
    return lines


def steps(rounds: int) -> list[str]:
    """The digits net's training step: steps in a row, and each waited for."""
    ours = training.outputs_of_step()

    def sent() -> None:
        mx.async_eval(ours())

    def done() -> None:
        mx.eval(ours())

    calls: dict[str, tuple[Call, Call]] = {"lamina": (sent, done)}
    for name, how in (
        ("eager", None),
        ("torch.compile", "default"),
        ("CUDA graphs", "reduce-overhead"),
    ):
        step: Any = training.in_torch(how, "cuda")
        calls[name] = (step, lambda step=step: (step(), torch.cuda.synchronize()))
    wait = dict.fromkeys(calls, torch.cuda.synchronize) | {"lamina": mx.synchronize}
    lines = [
        "| training step | lamina us | eager | torch.compile | with its CUDA graphs |",
        "|---|---|---|---|---|",
    ]
    for at, label in enumerate(("in a row", "each waited for")):
        seconds = in_turn({n: c[at] for n, c in calls.items()}, 50, rounds, wait)
        mine = seconds.pop("lamina")
        theirs = " | ".join(f"{s * 1e6:.0f} us, {s / mine:.2f} x" for s in seconds.values())
        lines.append(f"| {label} | {mine * 1e6:.0f} | {theirs} |")
    return lines


def page(options: argparse.Namespace) -> str:
    info = mx.device_info()
    command = " ".join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]])
    parts = [
        f"# {info['device_name']} ({info['architecture']}), {datetime.date.today().isoformat()}",
        f"`{command}`, PyTorch {torch.__version__}. Medians of {options.rounds} rounds, "
        "contenders in turn.",
    ]
    if "launch" in options.cases:
        cost = {n: device.launch_cost(n, 100, options.rounds) for n in device.CHAINS}
        parts += ["## Launches", *(f"- {n}: {c:.2f} us a launch" for n, c in cost.items())]
    if "step" in options.cases:
        parts += ["## The digits net", "\n".join(steps(options.rounds))]
    if "products" in options.cases:
        parts += ["## Matrix products", "\n".join(products(options.rounds))]
    if "convolutions" in options.cases:
        parts += ["## Convolutions of 3 x 3", "\n".join(convolutions(options.rounds))]
    if "kernels" in options.cases:
        parts += [
            "## Kernels",
            "Rates are predicted bytes over the time; a copy reads and writes its bytes once.",
            "\n".join(bandwidth(options.mib, options.rounds)),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cases = ["launch", "step", "products", "convolutions", "kernels"]
    parser.add_argument("cases", nargs="*", default=cases, help=f"of {', '.join(cases)}")
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for the page; else it is printed")
    options = parser.parse_args()
    if torch is None or not torch.cuda.is_available():
        parser.error("needs PyTorch with CUDA and a GPU")
    _core._set_default_device(_core._device_named("cuda"))
    text = page(options)
    if options.out is None:
        print(text)
        return
    name = str(mx.device_info()["device_name"]).lower().replace(" ", "-")
    day = datetime.date.today().isoformat()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{day}-{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
