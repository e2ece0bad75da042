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


ENTRY = entry()
MALFORMED = {
    "empty": (b"", "0 bytes"),
    "short": (b"1234567", "7 bytes"),
    "long header": (file_of({}, length=2**62), "header"),
    "no json": (file_of(b"{nope"), "bad header: expected .* at byte 1"),
    "no text": (file_of(b'{"\xff":1}'), "not UTF-8"),
    "no object": (file_of([1]), "expected '{'"),
    "deep": (file_of(b'{"a":{"b":' + b"[" * 100_000), "nested too deeply"),
    "twice": (
        file_of(b'{"a":E,"a":E}'.replace(b"E", json.dumps(ENTRY).encode()), b"1234"),
        "twice",
    ),
    "after": (file_of(b"{} x"), "text after the end"),
    "no entry": (file_of({"a": 3}), "bad header: expected"),
    "no dtype": (file_of({"a": {"shape": []}}), "missing"),
    "dtype": (file_of({"a": entry("X9")}), "tensor 'a': unsupported dtype 'X9'"),
    "dtype kind": (file_of({"a": entry(5)}), "expected '\"'"),
    "shape": (file_of({"a": entry(shape=[-1])}), "whole number"),
    "axes": (file_of({"a": entry(shape=[1] * 65)}, b"1234"), "65 axes"),
    "shape kind": (file_of({"a": entry(shape="12")}), "expected"),
    "huge": (file_of({"a": entry(shape=[2**40, 2**40])}), "does not fill its 4 bytes"),
    "offsets": (file_of({"a": entry(offsets=[4])}), "offsets"),
    "backwards": (file_of({"a": entry(offsets=[4, 0])}, b"1234"), "begin, end"),
    "size": (file_of({"a": entry(offsets=[0, 3])}, b"123"), "does not fill its 3 bytes"),
    "cut": (file_of({"a": entry()}, b"12"), "tensor 'a' ends at byte .* beyond"),
    "overlap": (file_of({"a": entry(), "b": entry(offsets=[2, 6])}, b"123456"), "overlap"),
    "metadata": (file_of({"__metadata__": {"a": 1}}), "bad header"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_files_are_named(tmp_path: Path, case: str) -> None:
    data, message = MALFORMED[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.safetensors.*" + message):
        mx.load(path)


def npy_of(header: str, body: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode("latin-1")
    size = (len(text) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + body


def descr(descr: str = "'<f4'", order: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


MALFORMED_NPY = {
    "empty": (b"", "not an npy file"),
    "garbage": (b"garbage garbage", "not an npy file"),
    "version": (npy_of(descr(), b"1234", version=9), "version 9"),
    "header cut": (npy_of(descr(), length=60_000), "cut short"),
    "wide header cut": (npy_of("", version=2)[:11], "cut short"),
    "no dict": (npy_of("nope"), "expected '{'"),
    "key": (npy_of("{'what': 1}"), "unknown key 'what'"),
    "missing": (npy_of("{'shape': (1,)}"), "missing"),
    "no text": (npy_of("{'\x80': 1}"), r"unknown key '\\x80'"),
    "object": (npy_of(descr("'|O'")), r"'\|O' is not supported"),
    "fields": (npy_of(descr("[('a', '<f4')]")), "plain string"),
    "order": (npy_of(descr(order="1")), "True or False"),
    "negative": (npy_of(descr(shape="(-1,)")), "whole numbers"),
    "size": (npy_of(descr(shape="(99999999999999999999,)")), "too large"),
    "huge": (npy_of(descr(shape=f"({2**40}, {2**40})")), "needs more than the 0 bytes"),
    "cut": (npy_of(descr(), b"123"), "needs more than the 3 bytes"),
    "axes": (npy_of(descr(shape="(" + "1, " * 65 + ")"), b"1234"), "65 axes"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED_NPY))
def test_malformed_npy_files_are_named(tmp_path: Path, case: str) -> None:
    data, message = MALFORMED_NPY[case]
    path = tmp_path / "bad.npy"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.npy.*" + message):
        mx.load(path)
    with pytest.raises(ValueError, match=message):
        mx.load(io.BytesIO(data), format="npy")


def written(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "npy":
        mx.save(out, mx.arange(6).reshape(2, 3).T > 2)
    else:
        mx.save_safetensors(
            out,
            {"weight": mx.arange(6), "mask": mx.arange(3) > 1, "bias": mx.zeros((2,))},
            {"a": "b"},
        )
    return out.getvalue()


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_raise_value_errors(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    """Bytes changed anywhere, often to what means something in a header, and cut anywhere."""
    damaged = bytearray(written(kind))
    meaning = st.sampled_from(list(b"0123456789{}[]()\",:'\\uF-eT \0\xff"))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(
            meaning | st.integers(0, 255)
        )
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(bytes(damaged))
    try:
        loaded = mx.load(path)
    except ValueError as e:
        assert f"damaged.{kind}" in str(e)
        return
    for x in [loaded] if kind == "npy" else loaded.values():
        assert np.array(x).size == x.size
        if x.dtype == mx.bool_:
            assert set(np.array(x).view(np.uint8).flat) <= {0, 1}


# --- elements stay in the file ------------------------------------------------------------------

BIG = 1 << 16


def start(x: mx.array) -> int:
    return int(np.asarray(memoryview(x)).ctypes.data)


def test_aligned_elements_take_no_memory(tmp_path: Path) -> None:
    x = np.arange(2 * BIG, dtype=np.float32).reshape(2, BIG)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "t.npy", np.asfortranarray(x))
    mx.save_safetensors(tmp_path / "s.safetensors", {"x": mx.array(x), "small": mx.array([1.0])})
    before = mx.get_active_memory()
    a, t = mx.load(tmp_path / "x.npy"), mx.load(tmp_path / "t.npy")
    s = mx.load(tmp_path / "s.safetensors")
    assert mx.get_active_memory() - before < 1024  # the small array alone
    assert len({start(a), start(t), start(s["x"])}) == 3
    for got in (a, t, s["x"]):
        np.testing.assert_array_equal(np.array(got), x)
        np.testing.assert_array_equal(np.array(got[1, ::-2] + 1), x[1, ::-2] + 1)
    assert s["small"].tolist() == [1.0]


def test_results_never_go_into_the_file(tmp_path: Path) -> None:
    """A leaf that nobody holds may be overwritten by its result; one in a file may not."""
    path = tmp_path / "x.npy"
    x = np.ones(BIG, np.float32)
    np.save(path, x)
    content = path.read_bytes()
    y = mx.load(path) + 1
    mx.eval(y)
    z = np.from_dlpack(mx.load(path))
    if z.flags.writeable:
        z[:] = 5
    assert np.array(y).max() == 2
    assert path.read_bytes() == content


def test_saving_over_a_file_in_use(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    first, second = np.arange(BIG, dtype=np.float32), np.zeros(8, np.float32)
    mx.save_safetensors(path, {"w": mx.array(first)})
    w = mx.load(path)["w"]
    mx.save_safetensors(path, {"w": w * 2})  # what is read is what is replaced
    twice = mx.load(path)["w"]
    mx.save_safetensors(path, {"w": mx.array(second)})
    np.testing.assert_array_equal(np.array(w), first)
    np.testing.assert_array_equal(np.array(twice), first * 2)
    np.testing.assert_array_equal(np.array(mx.load(path)["w"]), second)
    path.unlink()
    np.testing.assert_array_equal(np.array(w + 1), first + 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [3, BIG])
@pytest.mark.parametrize("code", [">f4", ">i2", ">c8", "<f8", "|b1", "<c8"])
def test_npy_of_any_order(tmp_path: Path, code: str, size: int) -> None:
    x = (np.arange(2 * size) % 5 - 1).reshape(2, size).astype(code)
    for name, a in {"c": x, "f": np.asfortranarray(x), "v": x[::-1, ::3]}.items():
        np.save(tmp_path / f"{name}.npy", a)
        np.testing.assert_array_equal(np.array(mx.load(tmp_path / f"{name}.npy")), a)


def test_unaligned_tensors_are_copied(tmp_path: Path) -> None:
    x = np.arange(BIG, dtype=np.float32)
    header = {"x": {"dtype": "F32", "shape": [BIG], "data_offsets": [1, 1 + x.nbytes]}}
    (tmp_path / "u.safetensors").write_bytes(file_of(header, b"?" + x.tobytes()))
    got = mx.load(tmp_path / "u.safetensors")["x"]
    assert start(got) % 4 == 0
    np.testing.assert_array_equal(np.array(got), x)


def test_bytes_of_a_bool_are_truth_values(tmp_path: Path) -> None:
    body = bytes([0, 1, 2, 255])
    (tmp_path / "b.npy").write_bytes(npy_of(descr("'|b1'", shape="(4,)"), body))
    got = mx.load(tmp_path / "b.npy")
    assert got.tolist() == [False, True, True, True]
    assert mx.sum(got).item() == 3


def test_other_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot open .*none\.npy"):
        mx.load(tmp_path / "none.npy")
    with pytest.raises(ValueError, match="not a regular file"):
        mx.load(tmp_path, format="npy")
    for save in (mx.save, mx.savez):
        with pytest.raises(ValueError, match=r"cannot create .*No such file"):
            save(tmp_path / "none" / "x", mx.zeros((2,)))
    for kind in ("npy", "npz"):
        (tmp_path / f"bad.{kind}").write_bytes(b"garbage")
        with pytest.raises(ValueError, match=rf"bad\.{kind}"):
            mx.load(tmp_path / f"bad.{kind}")
    for kind in ("npy", "safetensors"):
        with pytest.raises(TypeError, match="load: file is open as text"):
            mx.load(io.StringIO("x.npy"), format=kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="txt"):
        mx.load(tmp_path / "a.txt")


def test_a_failed_write_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    mx.save_safetensors(path, {"x": mx.arange(3)})
    with pytest.raises(ValueError, match="metadata"):
        mx.save_safetensors(path, {"x": mx.zeros((2,))}, {"k": 1})  # type: ignore[dict-item]
    assert mx.load(path)["x"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
