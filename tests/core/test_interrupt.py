"""Ctrl-C in a long evaluation: KeyboardInterrupt, nothing lost, the process goes on."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import _thread, signal, threading, time
import lamina.core as mx

# A shell's background jobs are started deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)

x = mx.random.normal((700, 700))
mx.eval(x)
y = x
for _ in range(4000):
    y = mx.tanh(y @ x) * 0.01
threading.Timer(1.0, _thread.interrupt_main).start()
start = time.time()
try:
    mx.eval(y)
except KeyboardInterrupt as e:
    print("interrupted", e, flush=True)
print("quick" if time.time() - start < 20 else "slow", flush=True)
print("usable", mx.sum(mx.ones(10)).item(), flush=True)
z = x @ x
print("active", mx.get_active_memory() < 100e6, mx.sum(z).shape, flush=True)
small = x
for _ in range(3):
    small = mx.tanh(small @ x)
print("again", float(mx.max(mx.abs(small))) <= 1.0, flush=True)
"""


def test_interrupt_leaves_the_process_usable() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("interrupted evaluation interrupted"), done.stdout
    assert "usable 10.0" in lines
    assert "again True" in lines
    assert any(line.startswith("active True") for line in lines)


# The step's own time sets how many there are, so that the interrupt falls inside on any machine.
DONATED = """
import _thread, signal, threading, time
import lamina.core as mx

# A shell's background jobs are started deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)

w = mx.random.normal((400, 400))
mx.eval(w)

def run(steps, delay):
    x = mx.random.normal((400, 400))
    mx.eval(x)
    y = mx.tanh(x + 1)
    del x
    for _ in range(steps):
        y = mx.tanh(y @ w) * 0.01
    if delay:
        threading.Timer(delay, _thread.interrupt_main).start()
    start = time.perf_counter()
    try:
        mx.eval(y)
    except KeyboardInterrupt as e:
        print("interrupted", e, flush=True)
    return y, time.perf_counter() - start

_, took = run(50, 0)
y, took = run(int(50 * 3 / took), 0.5)
time.sleep(max(0.0, 0.6 - took))
print("value", float(mx.max(mx.abs(y))) <= 1.0, flush=True)
"""


def test_an_interrupt_past_the_point_of_return_is_delivered_at_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DONATED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("interrupted evaluation interrupted; it had begun"), done.stdout
    assert lines[1] == "value True"
