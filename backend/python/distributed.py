"""Communication between processes under the names of `mlx.core.distributed`, for one process.

No backend is there yet: `init` gives a group of one, in which a reduction is its input. A process
that a launcher started as one of several is told so, instead of computing alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lamina import _core as _c
from lamina._arguments import shown
from lamina._core import Dtype, array

__all__ = [
    "Group",
    "all_gather",
    "all_max",
    "all_min",
    "all_sum",
    "init",
    "is_available",
    "recv",
    "recv_like",
    "send",
    "sum_scatter",
]

_BACKENDS = ("any", "mpi", "nccl", "jaccl", "ring")
# Variables in which launchers say how many processes there are.
_SIZES = ("MLX_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE")


class Group:
    """Processes that communicate: `rank` is this one's number, `size` how many there are."""

    __slots__ = ("_rank", "_size")
    _rank: int
    _size: int

    def __init__(self) -> None:
        raise TypeError("Group: groups come from distributed.init() and Group.split()")

    def rank(self) -> int:
        """The number of this process, from 0."""
        return self._rank

    def size(self) -> int:
        """How many processes there are."""
        return self._size

    def split(self, color: int, key: int = -1) -> Group:
        """The processes that give the same color; DeviceError for a group of one."""
        raise _c.DeviceError(f"Group.split: a group of {self._size} cannot be split further")

    def __repr__(self) -> str:
        return f"Group(rank={self._rank}, size={self._size})"


def _group(rank: int, size: int) -> Group:
    group = object.__new__(Group)
    group._rank, group._size = rank, size
    return group


_world = _group(0, 1)


def _processes() -> tuple[str, int] | None:
    """Where it is said that there are several processes, and how many."""
    for name in _SIZES:
        text = os.environ.get(name, "")
        if text.isdigit() and int(text) > 1:
            return name, int(text)
    hosts = os.environ.get("MLX_HOSTFILE")
    if hosts and "MLX_RANK" in os.environ:
        try:
            count = len(json.loads(Path(hosts).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise _c.DeviceError(f"distributed.init: MLX_HOSTFILE={hosts}: {error}") from error
        if count > 1:
            return "MLX_HOSTFILE", count
    return None


def _known(backend: str, op: str) -> None:
    if backend not in _BACKENDS:
        raise ValueError(
            f"distributed.{op}: backend must be one of {', '.join(_BACKENDS)}, got {backend!r}"
        )


def is_available(backend: str = "any") -> bool:
    """Whether processes can communicate through the backend: no, there is none yet."""
    _known(backend, "is_available")
    return False


def init(
    strict: bool = False,
    backend: str = "any",
    *,
    all_gather_factory: Callable[[int, int], Callable[[bytes, int], bytes]] | None = None,
) -> Group:
    """The group of all processes, which is this one alone.

    Raises:
        DeviceError: with `strict`; or a launcher has started several processes.
        ValueError: no such backend.

    """
    _known(backend, "init")
    several = _processes()
    if several:
        raise _c.DeviceError(
            f"distributed.init: {several[0]} says {several[1]} processes, but lamina has no "
            f"backend for them to communicate ({backend} asked)\nStart a single process"
        )
    if strict:
        raise _c.DeviceError(
            f"distributed.init: no backend is available ({backend} asked)\n"
            "Without strict=True a group of one process is given"
        )
    return _world


def _alone(op: str, group: Group | None) -> None:
    if group is not None and not isinstance(group, Group):
        raise TypeError(f"distributed.{op}: group must be a Group or None, got {shown(group)}")
    if group is not None and group.size() > 1:
        raise _c.DeviceError(f"distributed.{op}: no backend for a group of {group.size()}")


def _reduced(op: str, x: Any, group: Group | None) -> array:
    _alone(op, group)
    if isinstance(x, (bool, int, float, complex)):
        return array(x)
    if not isinstance(x, array):
        raise TypeError(f"distributed.{op}: x must be an array, got {shown(x)}")
    return +x


def all_sum(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The sum of every process's `x`."""
    return _reduced("all_sum", x, group)


def all_max(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The largest of every process's `x`, element by element."""
    return _reduced("all_max", x, group)


def all_min(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The smallest of every process's `x`, element by element."""
    return _reduced("all_min", x, group)


def all_gather(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """Every process's `x`, joined along the first axis."""
    return _reduced("all_gather", x, group)


def sum_scatter(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The sum of every process's `x`, of which each gets its part along the first axis."""
    return _reduced("sum_scatter", x, group)


def _no_peer(op: str, peer: int, group: Group | None) -> ValueError:
    _alone(op, group)
    return ValueError(f"distributed.{op}: a group of one process has no peer, got {peer}")


def send(x: array, dst: int, *, group: Group | None = None, stream: Any = None) -> array:
    """Sends `x` to process `dst`; ValueError in a group of one."""
    raise _no_peer("send", dst, group)


def recv(
    shape: Sequence[int],
    dtype: Dtype,
    src: int,
    *,
    group: Group | None = None,
    stream: Any = None,
) -> array:
    """An array from process `src`; ValueError in a group of one."""
    raise _no_peer("recv", src, group)


def recv_like(x: array, src: int, *, group: Group | None = None, stream: Any = None) -> array:
    """An array of the shape and dtype of `x` from process `src`; ValueError in a group of one."""
    raise _no_peer("recv_like", src, group)
