"""Ctrl-C in a long evaluation: KeyboardInterrupt, nothing lost, the process goes on."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import _thread, threading, time
import lamina.core as mx

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
