"""lamina beside PyTorch on one NVIDIA GPU: a device copy, matrix products, a training step.

`python -m benchmarks.gpu --out benchmarks/results` writes one page with the date, the device and
the command. Products are held against cuBLASLt called directly (`benchmarks.cublas`), all else
against PyTorch; TF32 is off on both sides.
"""

from __future__ import annotations

import argparse
import datetime
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lamina.core as mx
from lamina import _core, _runtime

from . import cublas, device, training
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


# Products in one run of a plan, and in one graph of the peer's.
MOST_TOGETHER, WORK_TOGETHER = 20, 2e11


def together(flops: float) -> int:
    """How many products one run holds: small ones would only tell what it costs to send them."""
    return int(max(1, min(MOST_TOGETHER, WORK_TOGETHER / flops)))


def flops_of(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    return 2.0 * math.prod(a) * b[-1]


def chains(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether a product is as wide as what was multiplied, and can be multiplied again."""
    return a[-1] == b[-1]


Shapes = tuple[tuple[int, ...], tuple[int, ...]]


def our_products(shapes: Shapes, dtype: str, count: int) -> Call:
    """`count` products in one replayed plan, each of the one before where shapes allow it."""
    x = mx.random.normal(shapes[0]).astype(getattr(mx, dtype))
    # Scaled, so that a chain neither grows nor vanishes.
    y = (mx.random.normal(shapes[1]) * shapes[1][-2] ** -0.5).astype(getattr(mx, dtype))
    mx.eval(x, y)
    if chains(*shapes):

        def chain() -> None:
            z = x
            for _ in range(count):
                z = z @ y
            mx.async_eval(z)

        return chain
    others = [x, *(x + 0 for _ in range(count - 1))]  # equal products would be made once
    mx.eval(others)
    return lambda: mx.async_eval([x @ y for x in others])


def cublas_graph(library: cublas.Library, shapes: Shapes, dtype: str, count: int) -> Call:
    """Launches a captured graph of `count` calls of cuBLASLt, one after the other."""
    batch = math.prod(shapes[0][:-2])
    (rows, depth), cols = shapes[0][-2:], shapes[1][-1]
    of = {"device": "cuda", "dtype": getattr(torch, dtype)}
    b = (torch.randn(*shapes[1], device="cuda") * depth**-0.5).to(of["dtype"])
    chained = chains(*shapes)
    # As lamina's: a chain in two places, or operands and results of each product's own.
    given = [torch.randn(*shapes[0], **of) for _ in range(1 if chained else count)]
    outs = [torch.empty(*shapes[0][:-1], cols, **of) for _ in range(2 if chained else count)]
    workspace = torch.empty(cublas.WORKSPACE, device="cuda", dtype=torch.uint8)
    product = cublas.Product(library, batch, rows, depth, cols, dtype)

    def send(a: Any, out: Any) -> None:
        stream = torch.cuda.current_stream().cuda_stream
        product.send(a.data_ptr(), b.data_ptr(), out.data_ptr(), workspace.data_ptr(), stream)

    # Once before the capture, which allows no loading of kernels; and to see that it multiplies.
    send(given[0], outs[0])
    torch.cuda.synchronize()
    expected = given[0].float() @ b.float()
    if not torch.allclose(outs[0].float(), expected, rtol=2e-2, atol=2e-2):
        raise RuntimeError("cuBLASLt's product is not PyTorch's")
    del expected
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for i in range(count):
            a = outs[(i - 1) % 2] if chained and i else given[0 if chained else i]
            send(a, outs[i % len(outs)])
    kept = (given, b, outs, workspace, product)  # the graph has their addresses
    return lambda: (graph.replay(), kept)[0]


def product_line(name: str, dtype: str, flops: float, mine: float, theirs: float | None) -> str:
    peer = f"{theirs * 1e6:.1f} | {theirs / mine:.2f}" if theirs else "- | -"
    return f"| {name} | {dtype} | {mine * 1e6:.1f} | {flops / mine * 1e-12:.0f} | {peer} |"


def products(rounds: int) -> list[str]:
    """The table, and below it why a peer's cell is empty."""
    failed: dict[str, None] = {}  # in order, each once
    library = None
    try:
        library = cublas.Library(_runtime._library_folders())
        about = f"cuBLASLt {library.version} called directly, "
    except Exception as error:
        failed[str(error)] = None
        about = "cuBLASLt did not open, "
    lines = [
        "| product | dtype | lamina us | TFLOP/s | cuBLAS us | cuBLAS' time over lamina's |",
        "|---|---|---|---|---|---|",
    ]
    square: dict[str, Shapes] = {f"{n} x {n} x {n}": ((n, n), (n, n)) for n in SIZES}
    wait: dict[str, Call] = {"lamina": mx.synchronize, "cuBLAS": torch.cuda.synchronize}
    for dtype in DTYPES:
        for name, shapes in {**square, **OTHERS}.items():
            flops = flops_of(*shapes)
            count = together(flops)
            calls: dict[str, Call] = {"lamina": our_products(shapes, dtype, count)}
            try:
                if library is not None:
                    calls["cuBLAS"] = cublas_graph(library, shapes, dtype, count)
            except Exception as error:
                failed[f"{name} in {dtype}: {error}"] = None
            runs = int(min(100, max(3, 2e12 / (flops * count))))
            seconds = in_turn(calls, runs, rounds, wait)
            each = {n: s / count for n, s in seconds.items()}
            lines.append(product_line(name, dtype, flops, each["lamina"], each.get("cuBLAS")))
    lines += ["", about + TOGETHER]
    return lines + [f"- no time of cuBLAS: {why.splitlines()[0]}" for why in failed]


TOGETHER = (
    f"as a CUDA graph of up to {MOST_TOGETHER} calls; lamina's are as many products in one plan, "
    "run again. Each product multiplies the one before where its shape allows it.\n"
)


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
        rows = "\n".join(f"- {n}: {c:.2f} us a launch" for n, c in cost.items())
        parts += ["## Launches", rows, device.ABOUT_CHAINS]
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


CASES = ("launch", "step", "products", "convolutions", "kernels")


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES, help=f"of {', '.join(CASES)}")
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for the page; else it is printed")
    return parser


def main() -> None:
    parser = parser_of()
    options = parser.parse_args()
    if unknown := [c for c in options.cases if c not in CASES]:
        parser.error(f"no case is named {unknown[0]}; there are {', '.join(CASES)}")
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
