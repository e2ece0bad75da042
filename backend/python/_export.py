"""Functions in files: their graphs, one for each form of arguments. See docs/function-format.md."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lamina import _core as _c
from lamina._arguments import shown
from lamina._core import array
from lamina._io import _written
from lamina._shapeless import Calls, kind_of
from lamina._stored_calls import described, restored

__all__ = ["FunctionExporter", "export_function", "exporter", "import_function"]

MAGIC = b"LAMINAFN"
# The newest version, which only files with traces without sizes have; those before it are read too.
VERSION = 2
# Magic, version, bytes of the header, digest of all that follows.
_HEAD = struct.Struct("<8sIQ32s")
_ALIGN = 64
_Arrays = list[array]


def _padding(size: int) -> int:
    return -size % _ALIGN


# --- arguments -----------------------------------------------------------------------------------


def _arguments(op: str, args: Any, kwargs: dict[str, Any]) -> tuple[_Arrays, dict[str, array]]:
    """Positional and named arrays; a lone tuple or list, and a lone dict, stand for them."""
    given = list(args)
    named = dict(kwargs)
    if given and isinstance(given[-1], dict) and not named:
        named = given.pop()
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = list(given[0])
    for value in (*given, *named.values()):
        if not isinstance(value, array):
            raise ValueError(f"{op}: the arguments must be arrays, got {shown(value)}")
    return given, {name: named[name] for name in sorted(named)}


def _results(out: Any) -> _Arrays:
    results = [out] if isinstance(out, array) else out
    if not isinstance(results, (tuple, list)) or not all(isinstance(x, array) for x in results):
        raise ValueError(
            "export_function: the function must return an array, or a tuple or list of arrays, "
            f"got {type(out).__name__}"
        )
    return list(results)


class _Trace:
    """One graph, or calls: of so many positional arguments and these names, in this order."""

    def __init__(self, positional: int, names: list[str], graph: Any, sizes: bool) -> None:
        self.positional, self.names, self.graph, self.sizes = positional, names, graph, sizes

    @classmethod
    def of(
        cls,
        fun: Callable[..., Any],
        args: _Arrays,
        kwargs: dict[str, array],
        shapeless: bool = False,
    ) -> _Trace:
        count, names = len(args), list(kwargs)

        def flat(leaves: _Arrays) -> _Arrays:
            named = dict(zip(names, leaves[count:], strict=True))
            return _results(fun(*leaves[:count], **named))

        examples = [*args, *kwargs.values()]
        if not shapeless:
            return cls(count, names, _c._trace_to_store(flat, examples), True)
        calls = Calls()
        _c._trace_calls(calls, flat, examples)
        if not calls.closed:
            raise _c.TraceError(
                "export_function: the function reads an array of a transform around it"
            )
        return cls(count, names, calls, False)

    def __call__(self, arrays: _Arrays) -> _Arrays:
        out: _Arrays = self.graph(arrays) if self.sizes else self.graph(arrays)[0]
        return out

    def fits(self, args: _Arrays, kwargs: dict[str, array]) -> bool:
        return self.form() == _form(args, kwargs, self.sizes)

    def form(self) -> tuple[Any, ...]:
        if self.sizes:
            kinds = [(_c._dtype_name(dtype), tuple(shape)) for shape, dtype in self.graph.inputs]
        else:
            kinds = list(self.graph.kinds)
        rest = zip(self.names, kinds[self.positional :], strict=True)
        return tuple(kinds[: self.positional]), tuple(rest)


def _form(args: _Arrays, kwargs: dict[str, array], sizes: bool = True) -> tuple[Any, ...]:
    def kind(x: array) -> tuple[Any, ...]:
        return (_c._dtype_name(x.dtype), tuple(x.shape)) if sizes else kind_of(x)

    return tuple(kind(x) for x in args), tuple((name, kind(x)) for name, x in kwargs.items())


def _spelled(form: tuple[Any, ...]) -> str:
    def shape(of: tuple[int, ...] | int) -> str:
        if isinstance(of, tuple):
            return str(of)
        return "(" + ", ".join("?" * of) + ("," if of == 1 else "") + ")"

    positional = [f"{dtype} {shape(of)}" for dtype, of in form[0]]
    named = [f"{name}={dtype} {shape(of)}" for name, (dtype, of) in form[1]]
    return "(" + ", ".join(positional + named) + ")"


# --- writing -------------------------------------------------------------------------------------


def _bytes_of(x: array) -> bytes:
    raw = x.view(_c.uint16) if x.dtype == _c.bfloat16 else x
    return np.ascontiguousarray(raw._numpy()).tobytes()


class _Constants:
    """The arrays that graphs read, each once, one after the other."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.pieces: list[bytes] = []
        self._seen: dict[int, int] = {}
        self._kept: _Arrays = []  # so that no identity is used again
        self._size = 0

    def add(self, x: array) -> int:
        identity = _c._node_identity(x)
        if identity not in self._seen:
            raw = _bytes_of(x)
            self._seen[identity] = len(self.entries)
            self._kept.append(x)
            entry = {"dtype": _c._dtype_name(x.dtype), "shape": list(x.shape)}
            self.entries.append({**entry, "offset": self._size, "bytes": len(raw)})
            self.pieces += [raw, bytes(_padding(len(raw)))]
            self._size += len(raw) + _padding(len(raw))
        return self._seen[identity]


def _described(trace: _Trace, constants: _Constants) -> dict[str, Any]:
    graph = trace.graph
    out: dict[str, Any] = {"positional": trace.positional, "names": trace.names}
    if not trace.sizes:
        read: list[int] = []

        def constant(x: array) -> int:
            read.append(constants.add(x))
            return len(read) - 1

        calls = described(graph, constant)
        return {**out, "inputs": graph.kinds, "constants": read, **calls}
    return {
        **out,
        "inputs": [[_c._dtype_name(dtype), list(shape)] for shape, dtype in graph.inputs],
        "constants": [constants.add(x) for x in graph.constants],
        "steps": [
            {
                "operation": name,
                "parameters": parameters,
                "dtype": _c._dtype_name(dtype),
                "shape": list(shape),
                "inputs": inputs,
            }
            for name, parameters, shape, dtype, inputs in graph.steps
        ],
        "outputs": graph.outputs,
    }


def _write(file: str, traces: list[_Trace], metadata: str) -> None:
    import lamina

    constants = _Constants()
    header = {
        "lamina": lamina.__version__,
        "metadata": metadata,
        "functions": [_described(trace, constants) for trace in traces],
        "constants": constants.entries,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * _padding(_HEAD.size + len(text))
    digest = hashlib.sha256(text)
    for piece in constants.pieces:
        digest.update(piece)
    with _written(os.fsdecode(file), "") as out:
        version = 1 if all(trace.sizes for trace in traces) else VERSION
        out.write(_HEAD.pack(MAGIC, version, len(text), digest.digest()))
        out.write(text)
        for piece in constants.pieces:
            out.write(piece)


class FunctionExporter:
    """Collects traces of one function; `close`, or the end of a `with` block, writes the file."""

    def __init__(
        self, file: str, fun: Callable[..., Any], shapeless: bool, metadata: str | None
    ) -> None:
        self._file, self._fun, self._metadata = file, fun, metadata
        self._shapeless = shapeless
        self._traces: list[_Trace] = []
        self._open = True

    def __enter__(self) -> FunctionExporter:
        return self

    def __exit__(self, exc_type: Any = None, exc_value: Any = None, traceback: Any = None) -> None:
        if exc_type is None:
            self.close()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Trace the function for arguments of this form; one that is there already is kept."""
        if not self._open:
            raise ValueError(f"exporter: {self._file} is closed and takes no more traces")
        given, named = _arguments("exporter", args, kwargs)
        if not any(trace.fits(given, named) for trace in self._traces):
            self._traces.append(_Trace.of(self._fun, given, named, self._shapeless))

    def close(self) -> None:
        """Write the file. ValueError without a trace; the second time it does nothing."""
        if not self._open:
            return
        if not self._traces:
            raise ValueError(f"exporter: {self._file} has no trace: call it with example arrays")
        _write(self._file, self._traces, self._metadata or "")
        self._open = False


def exporter(
    file: str, fun: Callable[..., Any], *, shapeless: bool = False, metadata: str | None = None
) -> FunctionExporter:
    """An object to be called with example arrays: each call adds a trace of `fun` to the file.

    With `shapeless` a trace serves all sizes of its ranks and dtypes, as with `compile`.
    """
    return FunctionExporter(os.fspath(file), fun, shapeless, metadata)


def export_function(
    file_or_callback: str | Callable[..., Any],
    fun: Callable[..., Any],
    *args: Any,
    shapeless: bool = False,
    metadata: str | None = None,
    **kwargs: Any,
) -> None:
    """Write the graph that `fun` builds for the example arrays to a file, or tell a callback.

    The arrays come as positional and keyword arguments, or as a tuple and a dict of them; `fun`
    returns an array, or a tuple or list. Arrays it captures are written as they are now. A callback
    is called with one dict after the other: inputs, keyword inputs, outputs, constants, and each
    operation, with a name for every array.

    With `shapeless` the function takes arrays of all sizes that have the examples' ranks and
    dtypes, as with `compile`: sizes it passes on follow, and others than it could go on with are
    refused when it is called.

    Raises:
        ValueError: something is no array; or metadata are given with a callback.
        TraceError: an operation that the program registered; or `shapeless` with a callback.

    """
    given, named = _arguments("export_function", args, kwargs)
    if not callable(file_or_callback):
        with exporter(file_or_callback, fun, shapeless=shapeless, metadata=metadata) as out:
            out(given, named)
        return
    if metadata is not None:
        raise ValueError("export_function: metadata go into a file, not to a callback")
    if shapeless:
        raise _c.TraceError(
            "export_function: a callback is told of operations on arrays of given sizes, so "
            "shapeless=True is refused\nExport to a file, or leave shapeless out"
        )
    _tell(file_or_callback, _Trace.of(fun, given, named))


def _name(number: int) -> str:
    out = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        out = chr(ord("A") + digit) + out
    return out


def _tell(callback: Callable[..., Any], trace: _Trace) -> None:
    graph = trace.graph
    kinds = [(tuple(shape), dtype) for shape, dtype in graph.inputs]
    kinds += [(tuple(x.shape), x.dtype) for x in graph.constants]
    kinds += [(tuple(shape), dtype) for _, _, shape, dtype, _ in graph.steps]
    arrays = [(_name(i), *kind) for i, kind in enumerate(kinds)]
    first = len(graph.inputs)
    callback({"type": "inputs", "inputs": arrays[:first]})
    named = zip(trace.names, arrays[trace.positional : first], strict=True)
    callback({"type": "keyword_inputs", "keywords": [(name, a[0]) for name, a in named]})
    callback({"type": "outputs", "outputs": [arrays[i] for i in graph.outputs]})
    values = zip(arrays[first:], graph.constants, strict=False)
    callback({"type": "constants", "constants": [(a[0], x) for a, x in values]})
    first += len(graph.constants)
    for at, (operation, parameters, _, _, inputs) in enumerate(graph.steps):
        callback(
            {
                "type": "primitive",
                "name": operation,
                "arguments": parameters,
                "inputs": [arrays[i] for i in inputs],
                "outputs": [arrays[first + at]],
            }
        )


# --- reading -------------------------------------------------------------------------------------


def _damaged(file: str, what: str) -> ValueError:
    return ValueError(f"import_function: {file}: {what}")


def _contents(file: str) -> tuple[dict[str, Any], memoryview]:
    """The header and the constants' bytes of a file that is whole."""
    raw = memoryview(Path(file).read_bytes())
    if len(raw) < _HEAD.size or bytes(raw[:8]) != MAGIC:
        raise _damaged(file, "is no function that lamina exported")
    _, version, length, digest = _HEAD.unpack(raw[: _HEAD.size])
    if not 1 <= version <= VERSION:
        raise _damaged(file, f"has format version {version}, this lamina reads up to {VERSION}")
    rest = raw[_HEAD.size :]
    if hashlib.sha256(rest).digest() != digest or length > len(rest):
        raise _damaged(file, "is damaged: its digest does not fit")
    return json.loads(bytes(rest[:length])), rest[length:]


def _constant(entry: dict[str, Any], data: memoryview) -> array:
    dtype, shape = entry["dtype"], [int(d) for d in entry["shape"]]
    stored = "uint16" if dtype == "bfloat16" else "bool" if dtype == "bool_" else dtype
    raw = data[entry["offset"] : entry["offset"] + entry["bytes"]]
    numbers = np.frombuffer(raw, np.dtype(stored), math.prod(shape)).reshape(shape)
    out = _c.array(numbers, _c._dtype_named("uint16" if dtype == "bfloat16" else dtype))
    return out.view(_c.bfloat16) if dtype == "bfloat16" else out


def _trace_from(entry: dict[str, Any], constants: _Arrays) -> _Trace:
    named = _c._dtype_named
    if "calls" in entry:
        kinds = [(str(dtype), int(rank)) for dtype, rank in entry["inputs"]]
        calls = restored(entry, kinds, [constants[i] for i in entry["constants"]])
        return _Trace(entry["positional"], entry["names"], calls, False)
    graph = _c._StoredGraph(
        [(tuple(shape), named(dtype)) for dtype, shape in entry["inputs"]],
        [constants[i] for i in entry["constants"]],
        [
            (s["operation"], s["parameters"], tuple(s["shape"]), named(s["dtype"]), s["inputs"])
            for s in entry["steps"]
        ],
        entry["outputs"],
    )
    return _Trace(entry["positional"], entry["names"], graph, True)


def import_function(file: str, return_metadata: bool = False) -> Any:
    """The function in a file, or the pair of it and its metadata.

    It takes arrays as it was exported with and gives a tuple of arrays; transforms and `compile`
    work on it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of another version, or no exported function.

    """
    path = os.fspath(file)
    header, data = _contents(path)
    try:
        constants = [_constant(entry, data) for entry in header["constants"]]
        traces = [_trace_from(entry, constants) for entry in header["functions"]]
        metadata = str(header["metadata"])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise _damaged(path, f"its header is not understood: {error!r}") from error

    def imported(*args: Any, **kwargs: Any) -> tuple[array, ...]:
        given, named = _arguments("import_function", args, kwargs)
        for trace in traces:
            if trace.fits(given, named):
                return tuple(trace([*given, *named.values()]))
        known = "\n".join(_spelled(trace.form()) for trace in traces)
        raise ValueError(
            f"import_function: {path} has no trace for {_spelled(_form(given, named))}\n"
            f"It has:\n{known}"
        )

    return (imported, metadata) if return_metadata else imported
