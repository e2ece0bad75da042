"""Arrays in files: .npy and .npz as NumPy writes them, .safetensors and .gguf.

Files are replaced whole: a failed write leaves an existing file as it was.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from lamina import _core as _c
from lamina._core import array

__all__ = ["load", "save", "save_gguf", "save_safetensors", "savez", "savez_compressed"]

_File = str | os.PathLike[str] | IO[bytes]


def _name_of(file: _File) -> str:
    if isinstance(file, (str, os.PathLike)):
        return os.fsdecode(file)
    return str(getattr(file, "name", "file"))


# --- writing -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _written(file: _File, suffix: str) -> Iterator[Any]:
    """An open file as it is; for a path one beside it, which takes its place at the end."""
    if not isinstance(file, (str, os.PathLike)):
        yield file
        return
    path = os.fsdecode(file)
    out = _c._FileWriter(path if path.endswith(suffix) else path + suffix)
    try:
        yield out
        out.commit()
    finally:
        out.discard()


def save(file: _File, arr: array) -> None:
    """Save one array to a .npy file; the ending is added to a path that lacks it."""
    x = _c._to_array(arr, None)
    with _written(file, ".npy") as out:
        _c._save_npy(out.write, x)


def save_archive(file: _File, arrays: dict[str, array], pack: int = zipfile.ZIP_STORED) -> None:
    """Save named arrays, whatever their names, to an .npz file."""
    with (
        _written(file, ".npz") as out,
        zipfile.ZipFile(out, "w", compression=pack, allowZip64=True) as archive,
    ):
        for name, x in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _c._save_npy(member.write, x)


def _named(args: Any, kwargs: dict[str, Any]) -> dict[str, array]:
    arrays = {name: _c._to_array(a, None) for name, a in kwargs.items()}
    for i, a in enumerate(args):
        if f"arr_{i}" in arrays:
            raise ValueError(f"savez: arr_{i} is the name of the array at position {i}")
        arrays[f"arr_{i}"] = _c._to_array(a, None)
    return arrays


def savez(file: _File, *args: Any, **kwargs: Any) -> None:
    """Save arrays to an .npz file, under their keywords or as arr_0, arr_1, ..."""
    save_archive(file, _named(args, kwargs))


def savez_compressed(file: _File, *args: Any, **kwargs: Any) -> None:
    """`savez` with compression."""
    save_archive(file, _named(args, kwargs), zipfile.ZIP_DEFLATED)


def save_safetensors(
    file: _File, arrays: dict[str, array], metadata: dict[str, str] | None = None
) -> None:
    """Save named arrays to a .safetensors file, with text metadata; the ending is added."""
    texts = list((metadata or {}).items())
    for key, value in texts:
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"save_safetensors: metadata must be text, got {key!r}: {value!r}")
    with _written(file, ".safetensors") as out:
        _c._save_safetensors(out.write, list(arrays.items()), texts)


def save_gguf(
    file: _File,
    arrays: dict[str, array],
    metadata: dict[str, array | str | list[str]] | None = None,
) -> None:
    """Save named arrays to a .gguf file, with metadata; the ending is added.

    Values of the metadata are numbers or lists of them as arrays of shape () or (n,), str, or lists
    of str. TypeError for a dtype that the format does not have: unsigned arrays, complex numbers.
    """
    with _written(file, ".gguf") as out:
        _c._save_gguf(out.write, list(arrays.items()), list((metadata or {}).items()))


# --- reading -------------------------------------------------------------------------------------

# What zipfile and its unpacker raise on damaged archives.
_DAMAGED = (
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # Other packers take the memory that the file tells them to, gigabytes of it.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(
            f"{info.filename!r} is packed by method {info.compress_type}, not stored or deflated"
        )
    assert archive.fp is not None
    if info.compress_size > archive.fp.seek(0, os.SEEK_END):
        raise zipfile.BadZipFile(f"{info.filename!r} is larger than the file")
    return archive.read(info)


def _load_archive(file: _File, name: str) -> dict[str, array]:
    source = os.fsdecode(file) if isinstance(file, (str, os.PathLike)) else file
    try:
        with zipfile.ZipFile(source) as archive:
            members = {info.filename: _member(archive, info) for info in archive.infolist()}
    except _DAMAGED as e:
        # zipfile quotes bytes of the file, however many there are.
        raise _c.FileError(f"load: '{name}': {str(e)[:200]}") from e
    return {
        part.removesuffix(".npy"): _c._load_npy(content, f"{name}:{part}")
        for part, content in members.items()
    }


def _content(file: IO[bytes], name: str) -> bytes:
    content: Any = file.read()
    if isinstance(content, str):
        raise TypeError(f"load: {name} is open as text\nOpen it in mode 'rb'")
    return bytes(content)


def load(
    file: _File,
    /,
    format: str | None = None,
    return_metadata: bool = False,
    *,
    stream: Any = None,
) -> Any:
    """Load a .npy file (one array), or an .npz, .safetensors or .gguf file (a dict of arrays).

    The format follows from the name's ending if it is not given. `return_metadata` gives a tuple
    of that and the metadata of .safetensors or .gguf. ValueError names the file and what is wrong
    with it.

    Tensors of .gguf in Q4_0, Q4_1 and Q8_0 come as ``quantize(..., group_size=32)`` gives them:
    words under the tensor's name, and with ".scales" and ".biases" in place of ".weight". Those in
    Q2_K, Q4_K and Q6_K come as float16.

    Large arrays of .npy, .safetensors and .gguf stay in the file until they are used, and take no
    memory of their own. Such a file may be replaced or deleted, as `save` does, but must not be cut
    short in place while they live.
    """
    name = _name_of(file)
    kind = format if format is not None else name.rsplit(".", 1)[-1]
    value: Any
    metadata: dict[str, Any] = {}
    if return_metadata and kind in ("npy", "npz"):
        raise ValueError(f"load: {name}: {kind} files have no metadata")
    if kind == "npz":
        value = _load_archive(file, name)
    elif kind in ("npy", "safetensors", "gguf"):
        source = name if isinstance(file, (str, os.PathLike)) else _content(file, name)
        if kind == "npy":
            value = _c._load_npy(source, name)
        elif kind == "gguf":
            value, metadata = _c._load_gguf(source, name)
        else:
            value, metadata = _c._load_safetensors(source, name)
    else:
        raise ValueError(
            f"load: {name}: format {kind!r} is not supported\nUse npy, npz, safetensors or gguf"
        )
    return (value, metadata) if return_metadata else value
