"""Files and quantized matrices beside MLX's."""

from __future__ import annotations

from pathlib import Path

import pytest
from both import check_all, spread

SAVE = "x = a('float32', 2, 3); y = a('int32', 2); "
FILES = [
    SAVE + "mx.save(t + '/x.npy', x); mx.load(t + '/x.npy')",
    SAVE + "mx.save(t + '/x', x); mx.load(t + '/x.npy')",
    SAVE + "mx.save(p / 'z.npy', x); mx.load(p / 'z.npy')",
    SAVE + "mx.save(t + '/x.npy', x.T); mx.load(t + '/x.npy')",
    SAVE + "mx.save(t + '/x.npy', x); np.load(t + '/x.npy')",
    SAVE + "np.save(t + '/n.npy', np.arange(3)); mx.load(t + '/n.npy')",
    SAVE + "np.save(t + '/n.npy', np.ones((2, 3)).T); mx.load(t + '/n.npy')",
    SAVE + "mx.savez(t + '/x.npz', x, b=y); mx.load(t + '/x.npz')",
    SAVE + "mx.savez(t + '/x', a=x); mx.load(t + '/x.npz')",
    SAVE + "mx.savez_compressed(t + '/x.npz', x=x, y=y); mx.load(t + '/x.npz')",
    SAVE + "np.savez(t + '/n.npz', a=np.arange(3)); mx.load(t + '/n.npz')",
    SAVE
    + "mx.save_safetensors(t + '/x.safetensors', dict(x=x, y=y)); mx.load(t + '/x.safetensors')",
    SAVE
    + "mx.save_safetensors(t + '/x', dict(x=x), dict(k='v')); mx.load(t + '/x.safetensors', return_metadata=True)",
    SAVE + "mx.save_safetensors(t + '/x', dict(x=1))",
    SAVE + "mx.save_safetensors(t + '/x', [x])",
    SAVE + "mx.save_safetensors(t + '/x', dict(x=x), dict(k=1))",
    SAVE + "mx.save_gguf(t + '/x.gguf', dict(x=x)); mx.load(t + '/x.gguf')",
    SAVE
    + "mx.save_gguf(t + '/x', dict(x=x), dict(k='v', n=mx.array(2))); mx.load(t + '/x.gguf', return_metadata=True)",
    SAVE + "mx.save(t + '/x.npy', x); mx.load(t + '/x.npy', format='npy')",
    SAVE + "mx.save(t + '/x.npy', x); mx.load(t + '/x.npy', return_metadata=True)",
    SAVE + "mx.save(t + '/x.npy', x); f = open(t + '/x.npy', 'rb'); mx.load(f)",
    SAVE + "f = open(t + '/f.npy', 'wb'); mx.save(f, x); f.close(); mx.load(t + '/f.npy')",
    SAVE + "import io; f = io.BytesIO(); mx.save(f, x); f.seek(0); mx.load(f, format='npy')",
    SAVE
    + "import io; f = io.BytesIO(); mx.save_safetensors(f, dict(x=x)); f.seek(0); mx.load(f, format='safetensors')",
    "mx.load(t + '/missing.npy')",
    "mx.load(t + '/missing.safetensors')",
    "mx.load(t + '/missing')",
    "mx.load(t + '/missing.xyz')",
    "open(t + '/bad.npy', 'wb').write(b'nonsense'); mx.load(t + '/bad.npy')",
    "open(t + '/bad.npz', 'wb').write(b'nonsense'); mx.load(t + '/bad.npz')",
    "open(t + '/bad.safetensors', 'wb').write(b'nonsense nonsense'); mx.load(t + '/bad.safetensors')",
    "open(t + '/bad.gguf', 'wb').write(b'nonsense nonsense'); mx.load(t + '/bad.gguf')",
    "mx.load(3)",
    "mx.save(t + '/x.npy', [1, 2])",
    "mx.save('/nonexistent/x.npy', mx.ones(2))",
    "mx.save(t + '/e.npy', mx.zeros((0, 3))); mx.load(t + '/e.npy')",
    "mx.save(t + '/s.npy', mx.array(3.0)); mx.load(t + '/s.npy')",
    "mx.save(t + '/b.npy', a('{d}', 3)); mx.load(t + '/b.npy')",
    "mx.save_safetensors(t + '/b', dict(x=a('{d}', 2, 3).T)); mx.load(t + '/b.safetensors')",
]


@pytest.mark.parametrize("template", FILES)
def test_files(template: str, tmp_path: Path) -> None:
    kinds = ["bool_", "uint8", "int64", "float16", "bfloat16", "float32", "complex64"]
    check_all(spread(template, d=kinds), t=str(tmp_path), p=tmp_path)


QUANTIZED = [
    "mx.quantize(a('{t}', 4, 128){q})",
    "mx.dequantize(*mx.quantize(a('float32', 4, 128){q}){q})",
    "w = mx.quantize(a('float32', 4, 128){q}); mx.quantized_matmul(a('float32', 2, 128), *w{q})",
    "w = mx.quantize(a('float32', 128, 128)); mx.quantized_matmul(a('float32', 2, 128), *w, transpose={b})",
    "w = mx.quantize(a('float32', 3, 4, 128)); mx.gather_qmm(a('float32', 2, 1, 128), *w, rhs_indices=mx.array([2, 0]))",
    "mx.quantize(a('float32', 4, 100))",
    "mx.quantize(a('float32', 128))",
    "mx.quantize(a('int32', 4, 128))",
    "mx.quantize(a('float32', 4, 128), group_size=7)",
    "mx.quantize(a('float32', 4, 128), bits=7)",
    "mx.quantize(a('float32', 4, 128), mode='x')",
    "mx.gather_mm(a('float32', 3, 2, 4), a('float32', 2, 4, 5), mx.array([0, 2]), mx.array([1, 0]))",
    "mx.block_masked_mm(a('float32', 64, 64), a('float32', 64, 64), 32, mx.array([[True, False], [False, True]]))",
    "mx.to_fp8(a('float32', 6))",
    "mx.from_fp8(mx.to_fp8(a('float32', 6)), mx.float32)",
]


@pytest.mark.parametrize("template", QUANTIZED)
def test_quantized(template: str) -> None:
    options = [
        "",
        ", group_size=32",
        ", bits=8",
        ", group_size=128, bits=2",
        ", bits=3",
        ", bits=6",
        ", mode='mxfp4'",
        ", mode='mxfp8'",
        ", mode='nvfp4'",
        ", group_size=64, mode='mxfp4'",
    ]
    check_all(spread(template, t=["float32", "float16"], q=options, b=["True", "False"]), 1e-3)
