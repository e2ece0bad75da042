"""Arrays in files: .npy and .npz as NumPy writes them, and .safetensors.

Files are replaced whole: a failed write leaves an existing file as it was.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from lamina import _core as _c
from lamina._core import array

__all__ = ["load", "save", "save_safetensors", "savez", "savez_compressed"]

_File = str | os.PathLike[str] | IO[bytes]
_TAGS = {
    "bool": "BOOL",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
}
_NAMES = {tag: name for name, tag in _TAGS.items()}
# Eight-bit floats have no dtype; their bits are given.
_NAMES |= {"F8_E4M3": "uint8", "F8_E5M2": "uint8", "F8_E8M0": "uint8"}
_HEADER_LIMIT = 100_000_000


def _to_numpy(a: array) -> np.ndarray[Any, Any]:
    """The elements in NumPy; bfloat16 as its 16 bits, in the type "V2"."""
    if a.dtype == _c.bfloat16:
        return np.asarray(_c.view(a, _c.uint16)._numpy(), order="C").view("V2")
    out: np.ndarray[Any, Any] = np.asarray(a._numpy())
    return out


def _from_numpy(x: np.ndarray[Any, Any], file: str) -> array:
    if x.dtype == np.dtype("V2"):
        return _c.view(_c.array(x.view(np.uint16)), _c.bfloat16)
    name = x.dtype.name
    if name not in _TAGS:
        raise ValueError(f"load: {file} holds {name}, which is not supported")
    return _c.array(np.require(x, requirements="A"), dtype=_c._dtype_named(name))


def _name_of(file: _File) -> str:
    return str(file) if isinstance(file, (str, os.PathLike)) else str(getattr(file, "name", "file"))


def _replace(file: _File, suffix: str, write: Callable[[IO[bytes]], None]) -> None:
    """Write into an open file, or beside a path and then in its place."""
    if not isinstance(file, (str, os.PathLike)):
        write(file)
        return
    path = Path(file)
    if not path.name.endswith(suffix):
        path = path.with_name(path.name + suffix)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            write(out)
        os.chmod(partial, mode)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(file: _File, arr: array) -> None:
    """Save one array to a .npy file; the ending is added to a path that lacks it."""
    x = _to_numpy(_c.array(arr))
    _replace(file, ".npy", lambda out: np.save(out, x))


def _save_archive(file: _File, args: Any, kwargs: dict[str, Any], pack: Any) -> None:
    arrays = {name: _to_numpy(_c.array(a)) for name, a in kwargs.items()}
    for i, a in enumerate(args):
        if f"arr_{i}" in arrays:
            raise ValueError(f"savez: arr_{i} is the name of the array at position {i}")
        arrays[f"arr_{i}"] = _to_numpy(_c.array(a))

    def write(out: IO[bytes]) -> None:
        with zipfile.ZipFile(out, "w", compression=pack, allowZip64=True) as archive:
            for name, x in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, x, allow_pickle=False)

    _replace(file, ".npz", write)


def savez(file: _File, *args: Any, **kwargs: Any) -> None:
    """Save arrays to an .npz file, under their keywords or as arr_0, arr_1, ..."""
    _save_archive(file, args, kwargs, zipfile.ZIP_STORED)


def savez_compressed(file: _File, *args: Any, **kwargs: Any) -> None:
    """`savez` with compression."""
    _save_archive(file, args, kwargs, zipfile.ZIP_DEFLATED)


def save_safetensors(
    file: _File, arrays: dict[str, array], metadata: dict[str, str] | None = None
) -> None:
    """Save named arrays to a .safetensors file, with text metadata; the ending is added."""
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"save_safetensors: metadata must be text, got {key!r}: {value!r}")
    if "__metadata__" in arrays:
        raise ValueError("save_safetensors: '__metadata__' cannot be the name of an array")
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    blocks, offset = [], 0
    # Larger items first, so that each is aligned to its size.
    for name, a in sorted(arrays.items(), key=lambda item: -item[1].dtype.size):
        x = np.asarray(_to_numpy(a), order="C")
        header[name] = {
            "dtype": _TAGS[_c._dtype_name(a.dtype)],
            "shape": list(a.shape),
            "data_offsets": [offset, offset + x.nbytes],
        }
        offset += x.nbytes
        blocks.append(x)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(out: IO[bytes]) -> None:
        out.write(len(text).to_bytes(8, "little"))
        out.write(text)
        for x in blocks:
            out.write(x.reshape(-1).view(np.uint8).data if x.size else b"")

    _replace(file, ".safetensors", write)


# --- reading -------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name comes twice in the header")
    return out


def _header(data: Any, size: int) -> tuple[dict[str, Any], int]:
    """The header and where the tensors' bytes begin."""
    if size < 8:
        raise ValueError(f"{size} bytes are too few for a header")
    length = int.from_bytes(bytes(data[:8]), "little")
    if length > min(size - 8, _HEADER_LIMIT):
        raise ValueError(f"the header should have {length} bytes, the file has {size}")
    try:
        header = json.loads(bytes(data[8 : 8 + length]), object_pairs_hook=_unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise ValueError(f"the header is no JSON: {e}") from None
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    return header, 8 + length


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _extent(name: str, entry: Any, room: int) -> tuple[str, list[int], int, int]:
    """(dtype, shape, begin, end) of one tensor, checked against each other and the file."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ValueError(f"tensor {name!r} lacks a dtype, a shape or its offsets")
    tag, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(tag, str) or tag not in _NAMES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {tag!r}")
    if not isinstance(shape, list) or not all(_natural(n) for n in shape):
        raise ValueError(f"tensor {name!r} has the bad shape {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_natural, offsets)):
        raise ValueError(f"tensor {name!r} has the bad offsets {offsets!r}")
    begin, end = offsets
    dtype = _NAMES[tag]
    need = math.prod(shape) * _c._dtype_named(dtype).size
    if end < begin or end - begin != need:
        raise ValueError(
            f"tensor {name!r} of {tag} {tuple(shape)} needs {need} bytes, "
            f"its offsets {begin}, {end} give {end - begin}"
        )
    if end > room:
        raise ValueError(f"tensor {name!r} ends at byte {end} of {room}: the file is cut short")
    return dtype, shape, begin, end


def _tensors(data: Any, size: int) -> tuple[dict[str, array], dict[str, str]]:
    header, start = _header(data, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("the metadata is not a map of text to text")
    extents = {name: _extent(name, entry, size - start) for name, entry in header.items()}
    reached, previous = 0, ""
    for name, (_, _, begin, end) in sorted(extents.items(), key=lambda item: item[1][2:]):
        if begin < reached and end > begin:
            raise ValueError(f"tensors {previous!r} and {name!r} overlap")
        reached, previous = max(reached, end), name
    arrays = {}
    for name, (dtype, shape, begin, end) in extents.items():
        raw = "uint16" if dtype == "bfloat16" else dtype
        bits = np.frombuffer(
            bytes(data[start + begin : start + end]), np.dtype(raw).newbyteorder("<")
        )
        x = _c.array(bits.reshape(shape), dtype=_c._dtype_named(raw))
        arrays[name] = _c.view(x, _c.bfloat16) if raw != dtype else x
    return arrays, metadata


@contextlib.contextmanager
def _opened(file: _File) -> Iterator[IO[bytes]]:
    if not isinstance(file, (str, os.PathLike)):
        yield file
        return
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open(file, "rb"))
        except OSError as e:
            raise ValueError(f"load: cannot open {file}: {e.strerror}") from e
        yield stream


def _load_safetensors(stream: IO[bytes], path: bool) -> tuple[dict[str, array], dict[str, str]]:
    if not path:
        data = stream.read()
        return _tensors(data, len(data))
    size = os.fstat(stream.fileno()).st_size
    if size == 0:
        return _tensors(b"", 0)
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _tensors(mapped, size)


def _load_archive(stream: IO[bytes], name: str) -> dict[str, array]:
    out = {}
    with zipfile.ZipFile(stream) as archive:
        for member in archive.namelist():
            with archive.open(member) as part:
                x = np.lib.format.read_array(part, allow_pickle=False)
            out[member.removesuffix(".npy")] = _from_numpy(x, name)
    return out


def _load_as(kind: str, file: _File) -> tuple[Any, dict[str, Any]]:
    name = _name_of(file)
    with _opened(file) as stream:
        try:
            if kind == "npy":
                return _from_numpy(np.lib.format.read_array(stream, allow_pickle=False), name), {}
            if kind == "npz":
                return _load_archive(stream, name), {}
            return _load_safetensors(stream, isinstance(file, (str, os.PathLike)))
        except (ValueError, EOFError, zipfile.BadZipFile, OSError, NotImplementedError) as e:
            text = str(e)
            raise ValueError(text if text.startswith("load: ") else f"load: {name}: {text}") from e


def load(
    file: _File,
    /,
    format: str | None = None,
    return_metadata: bool = False,
    *,
    stream: Any = None,
) -> Any:
    """Load a .npy file (one array), or an .npz or .safetensors file (a dict of arrays).

    The format follows from the name's ending if it is not given. `return_metadata` gives a tuple
    of that and the metadata of .safetensors. ValueError names the file and what is wrong with it.
    """
    name = _name_of(file)
    kind = format if format is not None else name.rsplit(".", 1)[-1]
    if kind not in ("npy", "npz", "safetensors"):
        raise ValueError(
            f"load: {name}: format {kind!r} is not supported\nUse npy, npz or safetensors"
        )
    value, metadata = _load_as(kind, file)
    return (value, metadata) if return_metadata else value
