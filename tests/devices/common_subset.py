"""Bodies of Metal that are compiled for CUDA as well, each with what it computes.

docs/custom-kernels.md says what the common subset is; every line of it is in a body here.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lamina.core as mx
import numpy as np


@dataclass
class Case:
    body: str
    inputs: list[np.ndarray]
    want: np.ndarray
    header: str = ""
    grid: tuple[int, int, int] = (64, 1, 1)
    threadgroup: tuple[int, int, int] = (64, 1, 1)
    template: list[tuple[str, Any]] = field(default_factory=list)
    init: float | None = None
    atomic: bool = False
    rtol: float = 1e-6
    atol: float = 1e-6
    names: list[str] | None = None

    def __post_init__(self) -> None:
        if self.want.dtype == np.float64:
            self.want = self.want.astype("f")

    def run(self, name: str) -> mx.array:
        names = self.names or [chr(ord("a") + i) for i in range(len(self.inputs))]
        kernel = mx.fast.metal_kernel(
            name, names, ["out"], self.body, self.header, atomic_outputs=self.atomic
        )
        dtype = getattr(mx, str(self.want.dtype).removesuffix("_"))
        (y,) = kernel(
            inputs=[mx.array(x) for x in self.inputs],
            template=self.template,
            grid=self.grid,
            threadgroup=self.threadgroup,
            output_shapes=[self.want.shape],
            output_dtypes=[dtype],
            init_value=self.init,
        )
        return y


A = np.random.default_rng(0).uniform(0.25, 2, 64).astype("f")
B = np.random.default_rng(1).standard_normal(64).astype("f")
COUNT = np.arange(64, dtype="i")
I_UINT = "uint i = thread_position_in_grid.x;\n"
MATRIX = np.arange(256 * 256, dtype="f").reshape(256, 256)
LANES = np.arange(64).reshape(2, 32)
W = A.reshape(2, 32)


def _flat(rows: Any, dtype: Any = "f") -> np.ndarray:
    return np.concatenate([np.asarray(r) for r in rows]).astype(dtype)


def _forget_first(x: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(x, dtype="f")[:-1]])


SPECIAL = np.array([np.nan, np.inf, -np.inf, -2.5, 0, 3.25, 1e38, -0.0] * 8, "f")

C = np.random.default_rng(2).uniform(-0.95, 0.95, 64).astype("f")
# Of a in (1/4, 2), b of any sign, c in (-1, 1).
FUNCTIONS = {
    "exp(a)": np.exp(A),
    "exp2(a)": np.exp2(A),
    "log(a)": np.log(A),
    "log2(a)": np.log2(A),
    "log10(a)": np.log10(A),
    "sin(b)": np.sin(B),
    "cos(b)": np.cos(B),
    "tan(c)": np.tan(C),
    "asin(c)": np.arcsin(C),
    "acos(c)": np.arccos(C),
    "atan(b)": np.arctan(B),
    "atan2(b, a)": np.arctan2(B, A),
    "sinh(b)": np.sinh(B),
    "cosh(b)": np.cosh(B),
    "tanh(b)": np.tanh(B),
    "asinh(b)": np.arcsinh(B),
    "acosh(a + 1)": np.arccosh(A + 1),
    "atanh(c)": np.arctanh(C),
    "sqrt(a)": np.sqrt(A),
    "rsqrt(a)": 1 / np.sqrt(A),
    "floor(b)": np.floor(B),
    "ceil(b)": np.ceil(B),
    "rint(b)": np.rint(B),
    "round(b)": np.trunc(B + np.copysign(np.float32(0.5), B)),
    "trunc(b)": np.trunc(B),
    "fract(b)": B - np.floor(B),
    "fabs(b)": np.abs(B),
    "fmin(a, b)": np.minimum(A, B),
    "fmax(a, b)": np.maximum(A, B),
    "fmod(b, a)": np.fmod(B, A),
    "fma(a, b, c)": A * B + C,
    "pow(a, b)": A**B,
    "copysign(a, b)": np.copysign(A, B),
    "abs(b)": np.abs(B),
    "min(a, b)": np.minimum(A, B),
    "max(a, b)": np.maximum(A, B),
    "clamp(b, c, a)": np.minimum(np.maximum(B, C), A),
    "sign(b)": np.sign(B),
    "saturate(b)": np.clip(B, 0, 1),
    "step(c, b)": np.where(B < C, 0, 1),
    "mix(a, b, c)": A + (B - A) * C,
}
MATH = {
    "math_" + prefix.replace("::", "_"): Case(
        "uint i = thread_position_in_grid.x;\nfloat a = x[i], b = x[64 + i], c = x[128 + i];\n"
        + "\n".join(f"out[{64 * k} + i] = {prefix}{f};" for k, f in enumerate(FUNCTIONS)),
        [np.concatenate([A, B, C])],
        np.concatenate(list(FUNCTIONS.values())).astype("f"),
        names=["x"],
        rtol=5e-5,
        atol=1e-6,
    )
    for prefix in ("", "metal::", "precise::", "fast::", "metal::precise::", "metal::fast::")
}

CASES: dict[str, Case] = {
    **MATH,
    "precise_and_fast": Case(
        I_UINT + "out[i] = metal::precise::exp(a[i]) + precise::log(a[i])"
        " + metal::fast::sqrt(a[i]) + fast::clamp(b[i], 0.0f, 1.0f);",
        [A, B],
        np.exp(A) + np.log(A) + np.sqrt(A) + np.clip(B, 0, 1),
        rtol=2e-5,
    ),
    "clamp_sign_mix_step_select": Case(
        I_UINT + "out[i] = metal::clamp(b[i], -0.5f, 0.5f) + 2 * metal::sign(b[i])"
        " + metal::mix(a[i], b[i], 0.25f) + metal::step(0.0f, b[i]) * 8"
        " + select(16.0f, 32.0f, b[i] > 0) + copysign(64.0f, b[i]);",
        [A, B],
        np.clip(B, -0.5, 0.5)
        + 2 * np.sign(B)
        + (A + (B - A) * np.float32(0.25))
        + (B >= 0) * 8
        + np.where(B > 0, 32, 16)
        + np.copysign(64, B),
        rtol=1e-5,
    ),
    "clamp_of_integers": Case(
        I_UINT + "out[i] = clamp(a[i], 5, 40) + max(a[i], 30) + min(a[i], 10) + abs(a[i] - 32);",
        [COUNT],
        np.clip(COUNT, 5, 40) + np.maximum(COUNT, 30) + np.minimum(COUNT, 10) + np.abs(COUNT - 32),
    ),
    "classes_of_numbers": Case(
        I_UINT + "out[i] = metal::isnan(a[i]) + 2 * isinf(a[i]) + 4 * metal::isfinite(a[i])"
        " + 8 * signbit(a[i]) * !isnan(a[i]);",
        [SPECIAL],
        (
            np.isnan(SPECIAL)
            + 2 * np.isinf(SPECIAL)
            + 4 * np.isfinite(SPECIAL)
            + 8 * np.signbit(SPECIAL) * ~np.isnan(SPECIAL)
        ).astype("i"),
    ),
    "constants": Case(
        I_UINT + "constexpr float pi = M_PI_F;\n"
        "out[i] = i == 0 ? pi : i == 1 ? INFINITY : i == 2 ? -INFINITY : i == 3 ? M_E_F"
        " : i == 4 ? FLT_MAX : i == 5 ? MAXFLOAT : i == 6 ? FLT_EPSILON"
        " : i == 7 ? M_SQRT2_F : NAN;",
        [A],
        np.array(
            [np.pi, np.inf, -np.inf, np.e, np.finfo("f").max, np.finfo("f").max]
            + [np.finfo("f").eps, np.sqrt(2)]
            + [np.nan] * 56,
            "f",
        ),
    ),
    "bits": Case(
        I_UINT + "out[i] = popcount(a[i]) + 64 * clz(uint(a[i])) + 4096 * ctz(a[i])"
        " + (as_type<int>(1.0f) == 0x3f800000 ? 1 << 20 : 0);",
        [COUNT],
        np.array(
            [
                bin(n).count("1")
                + 64 * (32 - int(n).bit_length())
                + 4096 * ((n & -n).bit_length() - 1 if n else 32)
                + (1 << 20)
                for n in range(64)
            ],
            "i",
        ),
    ),
    "half_types_are_there": Case(
        I_UINT + "half h = a[i];\nh += 1.0f;\nbfloat b = 0.5f;\nb *= 2;\n"
        "float16_t g = h;\nout[i] = float(g) - float(b);",
        [A],
        A.astype("e").astype("f") + 1 - 1,
        rtol=2e-3,
    ),
    "halves_of_a_template": Case(
        I_UINT + "T x = a[i];\nx += T(1);\nout[i] = metal::max(x, T(2)) + metal::exp(x - x);",
        [A.astype("e")],
        (np.maximum(A.astype("e") + np.float16(1), 2) + 1).astype("e"),
        template=[("T", mx.float16)],
        rtol=2e-3,
    ),
    "metal_includes_in_a_header": Case(
        I_UINT + "out[i] = twice(a[i]);",
        [A],
        2 * A,
        "#include <metal_stdlib>\n#include <metal_math>\nusing namespace metal;\n"
        "float twice(float x) { return 2 * metal::max(x, 0.0f); }",
    ),
    "functions_templates_and_methods": Case(
        I_UINT + "Line<float> line{2, kBy[1]};\nthread float y = line.at(a[i]);\n"
        "add_to(y, device_value(a, i));\nout[i] = twice(y);",
        [A],
        2 * (2 * A + 8 + A),
        "constant float kBy[2] = {4, 8};\n"
        "template <typename T> T twice(T x) { return x + x; }\n"
        "template <typename T> struct Line {\n  T slope, start;\n"
        "  T at(T x) const { return slope * x + start; }\n};\n"
        "static inline void add_to(thread float& x, float by) { x += by; }\n"
        "inline float device_value(const device float* x, uint i) { return x[i]; }",
        rtol=1e-5,
    ),
    "vectors": Case(
        "uint2 at = thread_position_in_grid.xy;\n"
        "float4 v = float4(a[at.x], 1, 2, 3) * 2 + float4(1);\n"
        "vec<float, 2> swapped = v.yx, both = swapped + v.zw;\n"
        "int3 n = int3(at.xyx) * int3(1, 2, 3);\n"
        "v += float4(both, swapped);\n"
        "bool near = all(float2(1, 2) < float2(2, 3)) && !any(uint2(0, 1) == uint2(1, 0));\n"
        "out[at.x] = dot(v.xyz, float3(1, 10, 100)) + v[3] + v.w + n.z + near;",
        [A],
        # v = (2a + 1, 3, 5, 7); swapped = (3, 2a + 1); both = (8, 2a + 8)
        (2 * A + 9) + 10 * (2 * A + 11) + 800 + 2 * (2 * A + 8) + 3 * COUNT + 1,
        rtol=1e-5,
    ),
    "vectors_in_memory": Case(
        I_UINT + "threadgroup float4 part[16];\n"
        "if (i < 16) part[i] = reinterpret_cast<const device float4*>(a)[i];\n"
        "threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);\n"
        "simdgroup_barrier(mem_flags::mem_none);\n"
        "threadgroup float* flat = reinterpret_cast<threadgroup float*>(part);\n"
        "out[i] = flat[63 - i] + sizeof(float3);",
        [A],
        A[::-1] + 16,
    ),
    "members_that_look_like_swizzles": Case(
        I_UINT + "Moments m{a[i], 2 * a[i]};\nout[i] = m.xx + m.xy;",
        [A],
        3 * A,
        "struct Moments { float xx, xy; };",
    ),
    "threadgroup_pointers": Case(
        I_UINT + "threadgroup float part[64];\npart[i] = a[i];\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = total(part, i);",
        [A],
        np.array([A[max(0, n - 1) : n + 1].sum() for n in range(64)], "f"),
        "float total(const threadgroup float* part, uint i) {\n"
        "  return i ? part[i - 1] + part[i] : part[i];\n}",
    ),
    "lanes": Case(
        I_UINT + "uint lane = thread_index_in_simdgroup;\n"
        "out[i] = simd_sum(a[i]) + simd_max(a[i]) - simd_min(a[i]) + simd_product(a[i]);",
        [A],
        np.repeat(W.sum(1) + W.max(1) - W.min(1) + W.prod(1), 32).astype("f"),
        rtol=1e-4,
    ),
    "shuffles": Case(
        I_UINT + "uint lane = thread_index_in_simdgroup;\n"
        "float up = simd_shuffle_up(a[i], 3), down = simd_shuffle_down(a[i], 2);\n"
        "out[i] = simd_shuffle(a[i], 31 - lane) + 2 * simd_shuffle_xor(a[i], 5)"
        " + 4 * simd_broadcast(a[i], 7) + 8 * (lane < 3 ? 0 : up) + 16 * (lane < 30 ? down : 0)"
        " + 32 * simd_broadcast_first(a[i]);",
        [A],
        _flat(
            w[::-1]
            + 2 * w[np.arange(32) ^ 5]
            + 4 * w[7]
            + 8 * np.concatenate([np.zeros(3), w[:-3]])
            + 16 * np.concatenate([w[2:], np.zeros(2)])
            + 32 * w[0]
            for w in W
        ),
        rtol=1e-5,
    ),
    "prefixes": Case(
        I_UINT + "out[i] = simd_prefix_inclusive_sum(a[i])"
        " + 100 * simd_prefix_exclusive_sum(a[i]);",
        [A],
        _flat(np.cumsum(w, dtype="f") + 100 * _forget_first(w) for w in W),
        rtol=1e-5,
    ),
    "prefix_products": Case(
        I_UINT + "out[i] = simd_prefix_inclusive_product(a[i]);",
        [A],
        _flat(np.cumprod(w, dtype="f") for w in W),
        rtol=1e-4,
    ),
    "votes": Case(
        I_UINT + "out[i] = simd_any(a[i] == 40) + 2 * simd_all(a[i] < 32) + 4 * simd_is_first()"
        " + 8 * simd_or(a[i]) + 1024 * simd_and(a[i] | 16) + 65536 * simd_xor(int(a[i] == 3));",
        [COUNT],
        np.array(
            [
                (n >= 32)
                + 2 * (n < 32)
                + 4 * (n % 32 == 0)
                + 8 * (31 if n < 32 else 63)
                + 1024 * (16 if n < 32 else 48)
                + 65536 * (n < 32)
                for n in range(64)
            ],
            "i",
        ),
    ),
    "atomics": Case(
        I_UINT + "atomic_fetch_add_explicit(&out[0], a[i], memory_order_relaxed);\n"
        "atomic_fetch_sub_explicit(&out[1], a[i], memory_order_relaxed);\n"
        "atomic_fetch_max_explicit(&out[2], a[i], memory_order_relaxed);\n"
        "atomic_fetch_min_explicit(&out[3], a[i] - 70, memory_order_relaxed);\n"
        "atomic_fetch_or_explicit(&out[4], 1 << (a[i] % 30), memory_order_relaxed);\n"
        "atomic_fetch_and_explicit(&out[5], a[i] | 1, memory_order_relaxed);\n"
        "atomic_fetch_xor_explicit(&out[6], a[i], memory_order_relaxed);\n"
        "if (i == 0) atomic_store_explicit(&out[7], 12, memory_order_relaxed);\n"
        "if (i == 1) out_is(out, 8);\n"
        "if (i == 2) atomic_exchange_explicit(&out[9], 9, memory_order_relaxed);\n"
        "int seen = 5;\n"
        "if (i == 3) atomic_compare_exchange_weak_explicit(&out[10], &seen, 1,"
        " memory_order_relaxed, memory_order_relaxed);\n"
        "if (i == 3) atomic_store_explicit(&out[11], seen, memory_order_relaxed);",
        [COUNT],
        np.array(
            [
                COUNT.sum(),
                -COUNT.sum(),
                63,
                -70,
                (1 << 30) - 1,
                0,
                0,
                12,
                7,
                9,
                0,
                0,
            ],
            "i",
        ),
        "void out_is(device atomic<int>* out, int at) {\n"
        "  int before = atomic_load_explicit(&out[at], memory_order_relaxed);\n"
        "  atomic_store_explicit(&out[at], before + 7, memory_order_relaxed);\n}",
        init=0,
        atomic=True,
    ),
    "atomics_of_a_threadgroup": Case(
        I_UINT + "threadgroup atomic_uint count;\nthreadgroup atomic<int> most;\n"
        "if (i == 0) {\n  atomic_store_explicit(&count, 0u, memory_order_relaxed);\n"
        "  atomic_store_explicit(&most, 0, memory_order_relaxed);\n}\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "atomic_fetch_add_explicit(&count, 1u, memory_order_relaxed);\n"
        "atomic_fetch_max_explicit(&most, a[i], memory_order_relaxed);\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "out[i] = atomic_load_explicit(&count, memory_order_relaxed)"
        " + atomic_load_explicit(&most, memory_order_relaxed);",
        [COUNT],
        np.full(64, 64 + 63, "i"),
    ),
    "places": Case(
        I_UINT + "out[i] = threads_per_threadgroup.x + 100 * thread_index_in_threadgroup"
        " + 10000 * simdgroups_per_threadgroup + 100000 * dispatch_threads_per_threadgroup.x;",
        [],
        np.array(
            [
                (40 if n < 40 else 10) + 100 * (n % 40) + 10000 * (2 if n < 40 else 1) + 4000000
                for n in range(50)
            ],
            "i",
        ),
        grid=(50, 1, 1),
        threadgroup=(40, 1, 1),
    ),
    "places_in_two_dimensions": Case(
        "uint2 at = thread_position_in_grid.xy;\n"
        "out[at.y * 6 + at.x] = threads_per_threadgroup.x * 1000 + threads_per_threadgroup.y * 100"
        " + thread_index_in_threadgroup;",
        [],
        np.array(
            [
                [
                    (4 if x < 4 else 2) * 1000
                    + (4 if y < 4 else 1) * 100
                    + (4 if x < 4 else 2) * (y % 4)
                    + x % 4
                    for x in range(6)
                ]
                for y in range(5)
            ],
            "i",
        ),
        grid=(6, 5, 1),
        threadgroup=(4, 4, 1),
    ),
}


def of_notebook(name: str) -> dict[str, Any]:
    """What a notebook's cells name, but for what needs other cells to have run."""
    folder = Path(__file__).resolve().parents[2] / "notebooks"
    named: dict[str, Any] = {}
    for part in ast.parse((folder / f"{name}.py").read_text()).body:
        constant = isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant)
        if constant or isinstance(part, ast.FunctionDef):
            exec(compile(ast.Module([part], []), name, "exec"), named)
    return named


NOTEBOOK = of_notebook("40_inside_a_kernel")
_square = {"inputs": [MATRIX], "names": ["x"], "threadgroup": (32, 8, 1)}
_sums = {
    "inputs": [MATRIX],
    "names": ["x"],
    "want": MATRIX.sum(1),
    "grid": (256 * 256, 1, 1),
    "threadgroup": (256, 1, 1),
}
CASES |= {
    "notebook_across": Case(
        "uint2 at = thread_position_in_grid.xy;\nout[at.x * 256 + at.y] = x[at.x * 256 + at.y];",
        want=MATRIX,
        grid=(256, 256, 1),
        **_square,
    ),
    "notebook_naive": Case(NOTEBOOK["naive"], want=MATRIX.T.copy(), grid=(256, 256, 1), **_square),
    "notebook_transpose": Case(
        NOTEBOOK["through"](33), want=MATRIX.T.copy(), grid=(256, 64, 1), **_square
    ),
    "notebook_tree": Case(NOTEBOOK["tree"], **_sums),
    "notebook_lanes": Case(NOTEBOOK["lanes"], **_sums),
}
