"""GGUF files: what is written is read back, here and by mlx.core; malformed ones are named."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import lamina.core as mx
import mlx.core as omx
import numpy as np
import pytest
from arrays import name_of, sample, to_numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLAIN = ["float32", "float16", "bfloat16", "float64", "int8", "int16", "int32", "int64"]
BOTH = ["float32", "float16", "int8", "int16", "int32"]  # mlx.core writes no others
VALUES: dict[str, Any] = {
    "text": "hé",
    "texts": ["a", "", "bc"],
    "no texts": [],
    "yes": mx.array(True),
    "list": mx.array([1.5, -2.0]),
    "whole": mx.array([1, 2, 3]),
    **{
        d: mx.array(3, dtype=getattr(mx, d))
        for d in ("int8", "uint8", "int16", "uint64", "float32")
    },
}


def same(a: Any, b: Any) -> None:
    if isinstance(b, (str, list)):
        assert a == b
        return
    assert name_of(a) == name_of(b)
    assert tuple(a.shape) == tuple(b.shape)
    np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3), (2, 1, 3, 2)])
def test_every_dtype_survives(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    x = sample(name, shape, 1)
    mx.save_gguf(str(tmp_path / "x"), {"a.b": x, "other": x[:0] if x.ndim else x})
    same(mx.load(tmp_path / "x.gguf")["a.b"], x)
    if name in BOTH and x.size:
        same(mx.load(tmp_path / "x.gguf")["a.b"], omx.load(str(tmp_path / "x.gguf"))["a.b"])
        other = omx.array(np.array(x))
        omx.save_gguf(str(tmp_path / "y.gguf"), {"a": other}, {})
        same(mx.load(tmp_path / "y.gguf")["a"], other)


def test_metadata(tmp_path: Path) -> None:
    arrays = {"w": mx.arange(6).reshape(2, 3).T}
    mx.save_gguf(tmp_path / "m.gguf", arrays, VALUES)
    loaded, metadata = mx.load(tmp_path / "m.gguf", return_metadata=True)
    same(loaded["w"], arrays["w"])
    assert list(metadata) == list(VALUES)
    _, other = omx.load(str(tmp_path / "m.gguf"), return_metadata=True)
    for key, value in VALUES.items():
        same(metadata[key], value)
        same(metadata[key], other[key])
    omx.save_gguf(
        str(tmp_path / "o.gguf"), {"x": omx.ones((2,))}, {"k": ["a", "b"], "n": omx.array(2)}
    )
    _, metadata = mx.load(tmp_path / "o.gguf", return_metadata=True)
    assert metadata["k"] == ["a", "b"]
    assert metadata["n"].item() == 2


def test_open_files_and_mapped_ones(tmp_path: Path) -> None:
    out = io.BytesIO()
    big = mx.arange(1 << 17, dtype=mx.float32)
    mx.save_gguf(out, {"x": big, "small": mx.ones(3)}, {"k": "v"})
    got, metadata = mx.load(io.BytesIO(out.getvalue()), format="gguf", return_metadata=True)
    same(got["x"], big)
    assert metadata == {"k": "v"}
    (tmp_path / "x.gguf").write_bytes(out.getvalue())
    before = mx.get_active_memory()
    got = mx.load(tmp_path / "x.gguf")
    assert mx.get_active_memory() - before < 1024  # the small array alone
    same(got["x"] + 1, big + 1)
    mx.save_gguf(tmp_path / "x.gguf", {"x": got["x"] * 2})  # what is read is what is replaced
    same(mx.load(tmp_path / "x.gguf")["x"], big * 2)


# --- files by hand --------------------------------------------------------------------------------

TEXT, LIST = 8, 9
Q4_0, Q4_1, Q8_0 = 2, 3, 8
BLOCK_BYTES = {Q4_0: 18, Q4_1: 20, Q8_0: 34}


def text(s: str | bytes, version: int = 3) -> bytes:
    raw = s.encode() if isinstance(s, str) else s
    return struct.pack("<I" if version == 1 else "<Q", len(raw)) + raw


def value(key: str, kind: int, body: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + body


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int, version: int = 3) -> bytes:
    size = "<I" if version == 1 else "<Q"
    axes = b"".join(struct.pack(size, n) for n in reversed(shape))
    head = text(name, version) + struct.pack("<I", len(shape)) + axes
    return head + struct.pack("<IQ", kind, offset)


def file_of(
    tensors: list[bytes], body: bytes = b"", values: tuple[bytes, ...] = (), version: int = 3,
    counts: tuple[int, int] | None = None, alignment: int = 32,
) -> bytes:  # fmt: skip
    n = counts or (len(tensors), len(values))
    head = b"GGUF" + struct.pack("<III" if version == 1 else "<IQQ", version, *n)
    head += b"".join(values) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) + body


def blocks(kind: int, count: int, seed: int = 0) -> bytes:
    g = np.random.default_rng(seed)
    raw = g.integers(0, 256, (count, BLOCK_BYTES[kind]), dtype=np.uint8)
    heads = 2 if kind == Q4_1 else 1
    raw[:, : 2 * heads] = g.standard_normal((count, heads)).astype(np.float16).view(np.uint8)
    return raw.tobytes()


def decoded(kind: int, raw: bytes) -> np.ndarray:
    """The elements by the format's definition, in blocks of 32."""
    b = np.frombuffer(raw, np.uint8).reshape(-1, BLOCK_BYTES[kind])
    heads = (
        np.ascontiguousarray(b[:, : 4 if kind == Q4_1 else 2]).view(np.float16).astype(np.float32)
    )
    if kind == Q8_0:
        return b[:, 2:].view(np.int8) * heads
    codes = b[:, 2 * heads.shape[1] :]
    q = np.concatenate([codes & 15, codes >> 4], 1).astype(np.float32)
    return q * heads[:, :1] + heads[:, 1:] if kind == Q4_1 else (q - 8) * heads


@pytest.mark.parametrize("kind", [Q4_0, Q4_1, Q8_0])
@pytest.mark.parametrize("name", ["layer.weight", "bare"])
@pytest.mark.parametrize("shape", [(3, 64), (2, 3, 32), (96,)], ids=str)
def test_blocks(tmp_path: Path, kind: int, name: str, shape: tuple[int, ...]) -> None:
    raw = blocks(kind, int(np.prod(shape)) // 32)
    (tmp_path / "q.gguf").write_bytes(file_of([tensor(name, shape, kind, 0)], raw))
    got, other = mx.load(tmp_path / "q.gguf"), omx.load(str(tmp_path / "q.gguf"))
    assert set(got) == set(other)
    for key in got:
        same(got[key], other[key])
    stem = name.removesuffix(".weight")
    parts = [got[name], got[f"{stem}.scales"], got[f"{stem}.biases"]]
    if len(shape) == 1:
        parts = [p[None] for p in parts]
    bits = 8 if kind == Q8_0 else 4
    full = mx.dequantize(*parts, group_size=32, bits=bits, dtype=mx.float32)
    want = decoded(kind, raw).reshape(full.shape)
    np.testing.assert_allclose(np.array(full), want, rtol=1e-6, atol=1e-6 * np.abs(want).max())


K_BLOCKS = {10: (84, (80, 82)), 12: (144, (0, 2)), 14: (210, (208,))}  # Q2_K, Q4_K, Q6_K


def large_blocks(kind: int) -> np.ndarray:
    size, halves = K_BLOCKS[kind]
    g = np.random.default_rng(kind)
    raw = g.integers(0, 256, (6, size), dtype=np.uint8)
    for at in halves:
        raw[:, at : at + 2] = (g.standard_normal((6, 1)) / 99).astype(np.float16).view(np.uint8)
    return raw


@pytest.mark.parametrize("kind", K_BLOCKS)
def test_blocks_of_256_are_mlx(tmp_path: Path, kind: int) -> None:
    raw = large_blocks(kind)
    if kind == 12:  # of two groups mlx.core reads the first one's scale alone
        raw[:, 5:16:2] = raw[:, 4:16:2]
    path = tmp_path / "k.gguf"
    path.write_bytes(file_of([tensor("w.weight", (3, 512), kind, 0)], raw.tobytes()))
    ((name, got),), ((_, want),) = mx.load(path).items(), omx.load(str(path)).items()
    assert (name, name_of(got), tuple(got.shape)) == ("w.weight", "float16", (3, 512))
    np.testing.assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-3, atol=1e-4)


def test_every_group_of_q4_k_has_its_scale(tmp_path: Path) -> None:
    raw = large_blocks(12)
    path = tmp_path / "k.gguf"
    path.write_bytes(file_of([tensor("w", (6, 256), 12, 0)], raw.tobytes()))
    six = raw[:, 4:16].astype(np.int32)
    top = six[:, :8] >> 6 << 4
    scales = np.concatenate([six[:, :4] & 63, six[:, 8:] & 15 | top[:, :4]], 1)
    least = np.concatenate([six[:, 4:8] & 63, six[:, 8:] >> 4 | top[:, 4:]], 1)
    halves = np.ascontiguousarray(raw[:, :4]).view(np.float16).astype(np.float64)
    codes = raw[:, 16:].reshape(6, 4, 32)
    codes = np.stack([codes & 15, codes >> 4], 2).reshape(6, 8, 32)
    want = halves[:, :1, None] * scales[..., None] * codes - halves[:, 1:, None] * least[..., None]
    got = to_numpy(mx.load(path)["w"])
    np.testing.assert_allclose(got, want.reshape(6, 256), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_versions(tmp_path: Path, version: int) -> None:
    body = np.arange(6, dtype=np.float32).tobytes()
    data = file_of([tensor("x", (2, 3), 0, 0, version)], body, version=version)
    (tmp_path / "v.gguf").write_bytes(data)
    assert mx.load(tmp_path / "v.gguf")["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_values_by_hand(tmp_path: Path) -> None:
    values = (
        value("bools", LIST, struct.pack("<IQ", 7, 3) + b"\0\1\2"),
        value("double", 12, struct.pack("<d", 1.5)),
        value("raw", TEXT, text(b"a\xffb")),
        value("none", LIST, struct.pack("<IQ", 5, 0)),
        value("general.alignment", 4, struct.pack("<I", 64)),
    )
    body = np.arange(4, dtype=np.float32).tobytes()
    (tmp_path / "v.gguf").write_bytes(
        file_of([tensor("x", (4,), 0, 0)], body, values, alignment=64)
    )
    arrays, metadata = mx.load(tmp_path / "v.gguf", return_metadata=True)
    assert arrays["x"].tolist() == [0, 1, 2, 3]
    assert metadata["bools"].tolist() == [False, True, True]
    assert metadata["double"].dtype == mx.float64
    assert metadata["raw"].encode("utf-8", "surrogateescape") == b"a\xffb"
    assert metadata["none"].shape == (0,)
    mx.save_gguf(tmp_path / "w.gguf", {}, {"raw": metadata["raw"]})
    assert mx.load(tmp_path / "w.gguf", return_metadata=True)[1]["raw"] == metadata["raw"]


F32 = tensor("x", (4,), 0, 0)
BODY = bytes(16)
MALFORMED = {
    "empty": (b"", "is no gguf file"),
    "garbage": (b"garbage garbage", "is no gguf file"),
    "head": (b"GGUF\3\0\0", "cut short: 4 bytes wanted at byte 4 of 7"),
    "version": (file_of([], version=7), "version 7 is not supported"),
    "byte order": (b"GGUF\0\0\0\3" + bytes(16), "other byte order"),
    "tensors": (file_of([], counts=(2**60, 0)), r"\d+ tensors do not fit"),
    "values": (file_of([], counts=(0, 2**60)), r"\d+ metadata values do not fit"),
    "key": (file_of([], values=(struct.pack("<Q", 2**63) + bytes(20),)), "cut short"),
    "type": (file_of([], values=(value("k", 99, b"12345678"),)), "'k' has a value of type 99"),
    "nested": (
        file_of([], values=(value("k", LIST, struct.pack("<IQ", LIST, 1) + bytes(20)),)),
        "a list of lists",
    ),
    "numbers": (
        file_of([], values=(value("k", LIST, struct.pack("<IQ", 12, 2**61) + bytes(20)),)),
        "numbers do not fit",
    ),
    "texts": (
        file_of([], values=(value("k", LIST, struct.pack("<IQ", TEXT, 2**61) + bytes(20)),)),
        "texts do not fit",
    ),
    "key twice": (
        file_of([], values=(value("k", 7, b"\1"),) * 2, body=bytes(9)),
        "'k' is there twice",
    ),
    "tensor twice": (file_of([F32, F32], BODY), "tensor 'x' is there twice"),
    "axes": (file_of([text("x") + struct.pack("<I", 65) + bytes(600)]), "65 axes, more than 64"),
    "axis": (
        file_of([text("x") + struct.pack("<IQIQ", 1, 2**63, 0, 0)]),
        "an axis of 9223372036854775808",
    ),
    "large": (file_of([tensor("x", (2**40, 2**40), 0, 0)]), "is too large"),
    "large bytes": (file_of([tensor("x", (2**61, 2), 0, 0)]), "is too large"),
    "elements": (
        file_of([tensor("x", (256,), 19, 0)], bytes(210)),
        "elements of type 19 are not supported\nConvert the file",
    ),
    "blocks": (
        file_of([tensor("x", (4, 33), Q4_0, 0)], bytes(90)),
        r"\(4, 33\) does not consist of blocks of 32",
    ),
    "offset": (file_of([tensor("x", (4,), 0, 2**63)], BODY), "lies beyond the file"),
    "far": (file_of([tensor("x", (4,), 0, 2**62)], BODY), "ends beyond the file"),
    "cut": (file_of([F32], BODY[:-1]), "tensor 'x' ends beyond the file"),
    "overlap": (file_of([F32, tensor("y", (4,), 0, 8)], bytes(32)), "tensors 'x' and 'y' overlap"),
    "alignment": (
        file_of([F32], BODY, (value("general.alignment", 4, struct.pack("<I", 48)),)),
        "general.alignment is 48, no power of two",
    ),
    "alignment type": (
        file_of([F32], BODY, (value("general.alignment", TEXT, text("32")),)),
        "must be a uint32",
    ),
    "names": (
        file_of([tensor("x.weight", (32,), Q4_0, 0), tensor("x.scales", (4,), 0, 32)], bytes(48)),
        "two arrays would be called 'x.scales'",
    ),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_files_are_named(tmp_path: Path, case: str) -> None:
    data, message = MALFORMED[case]
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.gguf.*" + message):
        mx.load(tmp_path / "bad.gguf")
    with pytest.raises(ValueError, match=message):
        mx.load(io.BytesIO(data), format="gguf")


def whole() -> bytes:
    values = (
        value("a", TEXT, text("hello")),
        value("b", LIST, struct.pack("<IQ", TEXT, 2) + text("x") + text("yz")),
        value("c", LIST, struct.pack("<IQ", 6, 2) + bytes(8)),
        value("general.alignment", 4, struct.pack("<I", 32)),
    )
    tensors = [
        F32,
        tensor("q.weight", (2, 32), Q4_0, 32),
        tensor("r", (32,), Q8_0, 96),
        tensor("s", (256,), 12, 160),
    ]
    return file_of(
        tensors,
        bytes(32)
        + blocks(Q4_0, 2).ljust(64, b"\0")
        + blocks(Q8_0, 1).ljust(64, b"\0")
        + bytes(144),
        values,
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(st.data())
def test_damaged_files_raise_value_errors(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed anywhere, often to what means something in a head, and cut anywhere."""
    damaged = bytearray(whole())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(
            st.sampled_from([0, 1, 2, 7, 8, 9, 127, 128, 255]) | st.integers(0, 255)
        )
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(bytes(damaged))
    try:
        arrays, metadata = mx.load(path, return_metadata=True)
    except ValueError as e:
        assert "damaged.gguf" in str(e)
        return
    for x in [*arrays.values(), *metadata.values()]:
        if isinstance(x, mx.array):
            assert to_numpy(x).size == x.size


def alignment(n: int) -> mx.array:
    return mx.array(n, dtype=mx.uint32)


@pytest.mark.parametrize("n", [8, 32, 4096])
def test_an_alignment_of_ones_own(tmp_path: Path, n: int) -> None:
    arrays = {"a": mx.arange(3), "b": mx.ones((5,), mx.int8), "c": mx.zeros((0,)), "d": mx.ones(1)}
    mx.save_gguf(tmp_path / "x.gguf", arrays, {"general.alignment": alignment(n)})
    loaded, metadata = mx.load(tmp_path / "x.gguf", return_metadata=True)
    assert metadata["general.alignment"].item() == n
    for name, x in arrays.items():
        same(loaded[name], x)
    assert (tmp_path / "x.gguf").stat().st_size % n == 0
    read = omx.load(str(tmp_path / "x.gguf"))
    assert np.array(read["b"]).tolist() == [1] * 5


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    mx.save_gguf(path, {"x": mx.arange(3)})
    one = {"x": mx.ones(2)}
    calls: list[tuple[Any, Any, type[Exception], str]] = [
        (
            {"x": mx.ones(2, dtype=mx.complex64)},
            {},
            TypeError,
            "'x' is complex64, which the format does not have\nCast it",
        ),
        ({"w": mx.zeros(2, dtype=mx.uint32)}, {}, TypeError, "'w' is uint32"),
        ({"": mx.ones(2)}, {}, ValueError, "'' cannot name an array: it is empty"),
        (one, {"k": mx.ones((2, 2))}, ValueError, r"metadata 'k' has shape \(2, 2\)"),
        (one, {"k": mx.array(1.0, dtype=mx.float16)}, TypeError, "metadata 'k' is float16"),
        (
            one,
            {"k": 3},
            TypeError,
            "metadata 'k' must be an array, a str or a list of str, got 3\nWrap",
        ),
        (one, {"k": ["a", 1]}, TypeError, "metadata 'k' is a list with 1"),
        (one, {"general.alignment": mx.array(32)}, ValueError, "alignment must be a uint32"),
        (one, {"general.alignment": alignment(48)}, ValueError, "alignment is 48, no power of two"),
        (one, {"general.alignment": alignment(4)}, ValueError, "alignment is 4, not from 8 to"),
    ]
    for arrays, metadata, kind, message in calls:
        with pytest.raises(kind, match=message):
            mx.save_gguf(path, arrays, metadata)
    assert mx.load(path)["x"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x.gguf"]
