"""Files: what is written is read back, by NumPy, mlx.core and safetensors readers too."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = [
    "bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "complex64",
]  # fmt: skip


def sample(name: str, shape: tuple[int, ...] = (2, 3)) -> mx.array:
    values = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) - (name[0] != "u")
    return mx.array(values).astype(getattr(mx, name))


def same(a: mx.array, b: mx.array) -> None:
    assert a.dtype == b.dtype
    assert tuple(a.shape) == tuple(b.shape)
    if a.dtype == mx.bfloat16:
        a, b = mx.view(a, mx.uint16), mx.view(b, mx.uint16)
    np.testing.assert_array_equal(np.array(a), np.array(b))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_every_dtype_survives(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    x = sample(name, shape)
    mx.save(str(tmp_path / "x"), x)
    same(mx.load(str(tmp_path / "x.npy")), x)
    mx.savez(tmp_path / "z.npz", x, named=x)
    loaded = mx.load(tmp_path / "z.npz")
    assert set(loaded) == {"arr_0", "named"}
    same(loaded["named"], x)
    mx.savez_compressed(str(tmp_path / "c"), x)
    same(mx.load(str(tmp_path / "c.npz"))["arr_0"], x)
    mx.save_safetensors(str(tmp_path / "s"), {"a.b": x, "c": x[:0] if x.ndim else x})
    loaded = mx.load(str(tmp_path / "s.safetensors"))
    same(loaded["a.b"], x)


def test_views_are_written_in_order(tmp_path: Path) -> None:
    x = mx.arange(6).reshape(2, 3).T[::-1]
    mx.save_safetensors(tmp_path / "s.safetensors", {"x": x})
    mx.save(tmp_path / "x.npy", x)
    same(mx.load(tmp_path / "s.safetensors")["x"], x)
    same(mx.load(tmp_path / "x.npy"), x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.array(x))


def test_mlx_reads_and_writes_the_same(tmp_path: Path) -> None:
    oracle = pytest.importorskip("mlx.core")
    for name in NAMES:
        x, dtype = sample(name), getattr(oracle, name)
        y = oracle.array(np.array(x.astype(mx.float32))).astype(dtype)
        oracle.save(str(tmp_path / "theirs.npy"), y)
        same(mx.load(str(tmp_path / "theirs.npy")), x)
        if name == "float64":  # mlx.core does not read it from .safetensors
            continue
        mx.save_safetensors(tmp_path / "ours.safetensors", {"x": x}, {"k": "v"})
        back, metadata = oracle.load(str(tmp_path / "ours.safetensors"), return_metadata=True)
        assert metadata["k"] == "v"
        assert oracle.array_equal(back["x"], y).item()
        oracle.save_safetensors(str(tmp_path / "theirs.safetensors"), {"x": y}, {"k": "v"})
        got, metadata = mx.load(str(tmp_path / "theirs.safetensors"), return_metadata=True)
        assert metadata["k"] == "v"
        same(got["x"], x)


def test_open_files(tmp_path: Path) -> None:
    x = mx.arange(4)
    for kind in ("npy", "npz", "safetensors"):
        out = io.BytesIO()
        if kind == "npy":
            mx.save(out, x)
        elif kind == "npz":
            mx.savez(out, x=x)
        else:
            mx.save_safetensors(out, {"x": x})
        out.seek(0)
        got = mx.load(out, format=kind)
        same(got if kind == "npy" else got["x"], x)


def file_of(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


MALFORMED = {
    "empty": (b"", "0 bytes"),
    "short": (b"1234567", "7 bytes"),
    "long header": (file_of({}, length=2**62), "header"),
    "no json": (file_of(b"{nope"), "JSON"),
    "no text": (file_of(b'"\xff"'), "JSON"),
    "no object": (file_of([1]), "object"),
    "deep": (file_of(b"[" * 100_000), "JSON"),
    "twice": (file_of(b'{"a":1,"a":2}'), "twice"),
    "no entry": (file_of({"a": 3}), "'a'"),
    "no dtype": (file_of({"a": {"shape": []}}), "lacks"),
    "dtype": (file_of({"a": entry("X9")}), "X9"),
    "dtype kind": (file_of({"a": entry(5)}), "dtype"),
    "shape": (file_of({"a": entry(shape=[-1])}), "shape"),
    "shape kind": (file_of({"a": entry(shape="12")}), "shape"),
    "huge": (file_of({"a": entry(shape=[2**40, 2**40])}), "needs"),
    "offsets": (file_of({"a": entry(offsets=[4])}), "offsets"),
    "backwards": (file_of({"a": entry(offsets=[4, 0])}, b"1234"), "needs"),
    "size": (file_of({"a": entry(offsets=[0, 3])}, b"123"), "needs"),
    "cut": (file_of({"a": entry()}, b"12"), "cut short"),
    "overlap": (file_of({"a": entry(), "b": entry(offsets=[2, 6])}, b"123456"), "overlap"),
    "metadata": (file_of({"__metadata__": {"a": 1}}), "metadata"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_files_are_named(tmp_path: Path, case: str) -> None:
    data, message = MALFORMED[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.safetensors.*" + message):
        mx.load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_raise_value_errors(tmp_path: Path, data: st.DataObject) -> None:
    out = io.BytesIO()
    mx.save_safetensors(out, {"weight": mx.arange(6), "bias": mx.zeros((2,))}, {"a": "b"})
    damaged = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(bytes(damaged))
    try:
        mx.load(path)
    except ValueError as e:
        assert "damaged.safetensors" in str(e)


def test_other_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.npy"):
        mx.load(tmp_path / "none.npy")
    for kind in ("npy", "npz"):
        (tmp_path / f"bad.{kind}").write_bytes(b"garbage")
        with pytest.raises(ValueError, match=rf"bad\.{kind}"):
            mx.load(tmp_path / f"bad.{kind}")
    with pytest.raises(ValueError, match="txt"):
        mx.load(tmp_path / "a.txt")


def test_a_failed_write_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    mx.save_safetensors(path, {"x": mx.arange(3)})
    with pytest.raises(ValueError, match="metadata"):
        mx.save_safetensors(path, {"x": mx.zeros((2,))}, {"k": 1})  # type: ignore[dict-item]
    assert mx.load(path)["x"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
