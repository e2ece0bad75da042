"""Ctrl-C in a kernel that does not end: KeyboardInterrupt, and the device works on afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from present import PRESENT

pytestmark = pytest.mark.skipif("soft_metal" not in PRESENT, reason="software Metal is not here")

START = """
import os, signal, sys, threading, time
import lamina.core as mx
import numpy as np

# A shell's background jobs are started deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
mx.set_default_device(mx.gpu)

def call(body, x, n=64):
    kernel = mx.fast.metal_kernel("endless", ["x"], ["out"], body)
    return kernel(inputs=[x], grid=(n, 1, 1), threadgroup=(8, 1, 1),
                  output_shapes=[(64,)], output_dtypes=[mx.float32])[0]

def interrupted(run, delay=0.5):
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.perf_counter()
    try:
        run()
        print("ended", flush=True)
    except KeyboardInterrupt as e:
        print("interrupted:", e, flush=True)
    print("quick" if time.perf_counter() - start < delay + 20 else "slow", flush=True)

x = mx.ones(64)
mx.eval(x)
"""

ENDLESS = {
    "memory": "uint i = thread_position_in_grid.x; while (true) out[i] = out[i] + x[i];",
    "nothing": "out[thread_position_in_grid.x] = x[0]; while (true) {}",
    "registers": """
        float v = x[0];
        while (v < 1e30f) v = metal::sin(v) * 0.5f;
        out[thread_position_in_grid.x] = v;
    """,
    "one thread": "if (thread_position_in_grid.x == 63) while (true) out[63] = x[0];",
    "lanes that meet": """
        uint i = thread_position_in_grid.x;
        while (true) out[i] = simd_sum(x[i]);
    """,
    "barriers": """
        threadgroup float t[8];
        uint i = thread_index_in_threadgroup;
        t[i] = x[i];
        while (t[i] > 0) threadgroup_barrier(mem_flags::mem_threadgroup);
        out[thread_position_in_grid.x] = t[i];
    """,
}


def lines(program: str, check: bool = True, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ
        | {"LAMINA_GPU": "soft_metal", "LAMINA_SOFT_METAL_CHECK": str(int(check))}
        | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("body", ENDLESS)
def test_a_kernel_without_end_is_interrupted(body: str, check: bool) -> None:
    program = f"""
y = call({ENDLESS[body]!r}, x)
for _ in range(2):
    interrupted(lambda: mx.eval(y))
after = call("uint i = thread_position_in_grid.x; out[i] = 2 * x[i];", x)
print("works", np.array(after).sum(), mx.sum(x + 1).item())
"""
    message = "interrupted: evaluation interrupted in kernel `endless`; the arrays stay unevaluated"
    assert lines(program, check) == [message, "quick", message, "quick", "works 128.0 128.0"]


def test_one_thread_alone_is_interrupted() -> None:
    program = f"interrupted(lambda: mx.eval(call({ENDLESS['registers']!r}, x)))"
    assert lines(program, LAMINA_NUM_THREADS="1")[0].startswith("interrupted: evaluation")


def test_a_dispatch_of_ones_own_is_interrupted() -> None:
    program = """
from lamina import soft_metal
library = soft_metal.Library("kernel void spin(device float* x) { while (true) x[0] += 1; }")
interrupted(lambda: library.pipeline("spin").run({0: np.ones(1, "f4")}, 1, 1))
"""
    assert lines(program) == ["interrupted: evaluation interrupted in kernel `spin`", "quick"]


# The kernel's own time sets how long it runs, so that the interrupt falls inside on any machine.
LONG = """
body = "float v = 1; for (int i = 0; i < int(x[0]); ++i) v = metal::cos(v);" \\
       "out[thread_position_in_grid.x] = v;"

def took(count):
    start = time.perf_counter()
    mx.eval(call(body, mx.full(1, float(count)), 1))
    return time.perf_counter() - start

count = 100_000
took(count)
while (seconds := took(count)) < 0.2:
    count *= 2
y = call(body, mx.full(1, count * 2 / seconds), 1)
interrupted(lambda: mx.eval(y))
print("value", round(float(y[0]), 4), flush=True)
"""


def test_an_interrupted_kernel_runs_again() -> None:
    assert lines(LONG)[::2] == [
        "interrupted: evaluation interrupted in kernel `endless`; the arrays stay unevaluated",
        "value 0.7391",
    ]


def test_what_was_written_over_is_reported_lost() -> None:
    program = f"""
z = mx.ones(64) * 3
mx.eval(z)
y = mx.tanh(z + 1)
del z
y = call({ENDLESS["memory"]!r}, y)
interrupted(lambda: mx.eval(y))
try:
    np.array(y)
except KeyboardInterrupt as e:
    print("lost:", e)
"""
    said = "evaluation interrupted in kernel `endless`; it had begun to write over its inputs: what"
    first, _, last = lines(program)
    assert first.startswith("interrupted: " + said)
    assert last.startswith("lost: " + said)
