"""Timing of rival callables in one run: interleaved, so that a slow moment hits all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Call = Callable[[], object]


@dataclass
class Samples:
    """Seconds per call, one entry a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # of all threads of the process

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def best(self) -> float:
        return min(self.wall)

    @property
    def spread(self) -> float:
        """Distance between the quartiles as a part of the median."""
        if len(self.wall) < 4:
            return 0.0
        low, _, high = statistics.quantiles(self.wall, n=4)
        return (high - low) / self.median


@dataclass
class Row:
    """One case: what each contender took, and what it should take."""

    name: str
    samples: dict[str, Samples]
    unit: str = "ms"
    per: int = 1  # the time is shown divided by this many things
    target: float | None = None  # in `unit`, for lamina
    rival: str | None = None  # the contender lamina should not be slower than
    note: str = ""

    def ratio(self, other: str) -> float:
        """The other's time over lamina's: the median over rounds; above 1 lamina is faster."""
        mine, theirs = self.samples["lamina"].wall, self.samples[other].wall
        if len(mine) == len(theirs):
            return statistics.median(t / m for m, t in zip(mine, theirs, strict=True))
        return statistics.median(theirs) / statistics.median(mine)


def once(call: Call, count: int) -> tuple[float, float]:
    """Wall and processor seconds of one call out of `count`."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


# A rival's threads go on polling for work after its last call, which is not to be charged to
# whoever comes next; the first call after a pause wakes its own.
PAUSE_SECONDS = 0.01


def race(
    contenders: dict[str, Call],
    rounds: int,
    sample_seconds: float = 0.02,
    patience: float = 4.0,
) -> dict[str, Samples]:
    """Times each contender once a round, in turn, `rounds` times.

    A sample repeats the call until it lasts about `sample_seconds`. A contender whose samples would
    together last longer than `patience` seconds takes part in fewer rounds.
    """
    counts, shares = {}, {}
    for name, call in contenders.items():
        once(call, 2)
        took, _ = once(call, 1)
        counts[name] = max(1, round(sample_seconds / max(took, 1e-9)))
        took, _ = once(call, counts[name])
        counts[name] = max(1, round(sample_seconds / max(took, 1e-9)))
        shares[name] = max(3, min(rounds, int(patience / max(took * counts[name], 1e-9))))
    out = {name: Samples() for name in contenders}
    order = list(contenders)
    gc.collect()
    gc.disable()
    try:
        for r in range(rounds):
            # The order turns, so that nobody always runs in another's wake.
            for name in order[r % len(order) :] + order[: r % len(order)]:
                if r >= shares[name]:
                    continue
                time.sleep(PAUSE_SECONDS)
                once(contenders[name], 1)
                wall, cpu = once(contenders[name], counts[name])
                out[name].wall.append(wall)
                out[name].cpu.append(cpu)
    finally:
        gc.enable()
    return out
