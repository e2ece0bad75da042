"""`python -m benchmarks`: every case in one run, as a markdown table."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = (
    "build",
    "evaluate",
    "hit",
    "sizes",
    "import",
    "chain",
    "rows",
    "activation",
    "matmul",
    "quantized",
    "fft",
    "step",
    "record",
)


def find_lamina() -> None:
    """An installed lamina, else the source tree laid out as one package."""
    try:
        import lamina  # noqa: F401
    except ImportError:
        sys.path.insert(0, str(ROOT / "tests" / "tools"))
        from link_tree import lay_out

        site = ROOT / "build" / "bench-site"
        lay_out(site)
        sys.path.insert(0, str(site))
        # Processes of their own (the import case) find it as well.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"any of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=15, help="samples of each contender")
    parser.add_argument(
        "--threads", type=int, help="threads of every contender; default: all cores"
    )
    parser.add_argument("--no-write", action="store_true", help="leave benchmarks/results/ alone")
    arguments = parser.parse_args()
    wanted = arguments.cases or list(CASES)
    if unknown := set(wanted) - set(CASES):
        parser.error(f"unknown case {sorted(unknown)[0]}: choose from {', '.join(CASES)}")
    if arguments.threads:
        os.environ["LAMINA_NUM_THREADS"] = str(arguments.threads)
    find_lamina()

    from . import kernels, overhead, report, training

    report.warn_missing()
    cases = {
        "build": overhead.building,
        "evaluate": overhead.evaluating,
        "hit": overhead.plan_hits,
        "sizes": overhead.new_sizes,
        "import": overhead.importing,
        "chain": kernels.chain,
        "rows": kernels.rows_and_columns,
        "activation": kernels.activations,
        "matmul": kernels.products,
        "quantized": kernels.quantized,
        "fft": kernels.transforms,
        "step": training.step,
        "record": training.recording,
    }
    text = report.head(["python", "-m", "benchmarks", *sys.argv[1:]])
    print(text, "\n", flush=True)
    for name in CASES:
        if name not in wanted:
            continue
        start = time.perf_counter()
        about = inspect.cleandoc(cases[name].__doc__ or "")
        part = f"## {name}\n\n{about}\n\n{report.table(cases[name](arguments.rounds))}"
        print(part, "\n", flush=True)
        print(f"({name}: {time.perf_counter() - start:.0f} s)", file=sys.stderr)
        text += "\n\n" + part
    report.warn_missing()
    if not arguments.no_write:
        target = report.path(ROOT / "benchmarks" / "results")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")
        print(f"written: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
