"""The Metal language on software Metal: types, values that C++ would give otherwise, templates,
function constants, SIMD-group functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lamina import soft_metal
from msl import HEAD, pipeline, run, value

NAN, INF = float("nan"), float("inf")


# --- types ---


@pytest.mark.parametrize(
    ("kind", "size", "alignment"),
    [
        ("bool", 1, 1), ("half", 2, 2), ("bfloat", 2, 2), ("int", 4, 4), ("long", 8, 8),
        ("float2", 8, 8), ("float3", 16, 16), ("float4", 16, 16), ("half3", 8, 8), ("char3", 4, 4),
        ("long3", 32, 32), ("bool4", 4, 1), ("uchar2", 2, 2), ("bfloat4", 8, 8),
        ("packed_float3", 12, 4), ("packed_half4", 8, 2), ("packed_char3", 3, 1),
    ],
)  # fmt: skip
def test_sizes(kind: str, size: int, alignment: int) -> None:
    argument = pipeline(f"kernel void f(device {kind}* x) {{}}").arguments[0]
    assert (argument["element_bytes"], argument["alignment"]) == (size, alignment)


@pytest.mark.parametrize(
    ("expression", "kind", "want"),
    [
        ("float4(1, 2, 3, 4)", "float4", [1, 2, 3, 4]),
        ("float4(float2(1, 2), 3, 4)", "float4", [1, 2, 3, 4]),
        ("float4(1, float3(2, 3, 4))", "float4", [1, 2, 3, 4]),
        ("float4(7)", "float4", [7, 7, 7, 7]),
        ("float4(1, 2, 3, 4).wzyx", "float4", [4, 3, 2, 1]),
        ("float4(1, 2, 3, 4).rgba.xw", "float2", [1, 4]),
        ("float3(1, 2, 3).yyy * 2", "float3", [4, 4, 4]),
        ("vec<int, 3>(1, 2, 3) + 1", "int3", [2, 3, 4]),
        ("metal::int2(float2(1.7f, -1.7f))", "int2", [1, -1]),
        ("uint4(1, 2, 3, 4)[2]", "uint", 3),
        ("dot(float3(1, 2, 3), float3(4, 5, 6))", "float", 32),
        ("cross(float3(1, 0, 0), float3(0, 1, 0))", "float3", [0, 0, 1]),
        ("length(float2(3, 4))", "float", 5),
        ("float2x2(1.0f)[1].y + float2x2(float2(1, 2), float2(3, 4))[1].x", "float", 4),
        ("float2x2(float2(1, 2), float2(3, 4)) * float2(1, 10)", "float2", [31, 42]),
        ("select(float3(1), float3(2), bool3(true, false, true))", "float3", [2, 1, 2]),
        ("select(1, 2, 3 > 2)", "int", 2),
        ("any(float4(1, 2, 3, 4) > 3.5f)", "bool", True),
        ("all(float4(1, 2, 3, 4) > 1.5f)", "bool", False),
        ("max(float4(-1, 2, -3, 4), 0.0f)", "float4", [0, 2, 0, 4]),
    ],
)
def test_vectors(expression: str, kind: str, want: object) -> None:
    np.testing.assert_array_equal(value(expression, kind), want)


def test_swizzles_on_the_left() -> None:
    source = """
    kernel void f(device float4* x, device packed_float3* p) {
      float4 v(1, 2, 3, 4);
      v.xw = v.wx;
      x[0] = v;
      x[0].yz += float2(10, 20);
      p[1] = p[0] + x[0].xyz;
    }
    """
    x, p = np.zeros(4, "f4"), np.arange(6, dtype="f4")
    run(source, {0: x, 1: p}, 1, 1)
    assert x.tolist() == [4, 12, 23, 1]
    assert p.tolist() == [0, 1, 2, 4, 13, 25]


def test_as_type() -> None:
    assert value("as_type<uint>(1.0f)", "uint") == 0x3F800000
    assert value("as_type<float>(0x40490fdb)") == np.float32(math.pi)
    assert value("as_type<ushort>(1.5h)", "ushort") == 0x3E00
    np.testing.assert_array_equal(value("as_type<ushort2>(0x00020001u)", "ushort2"), [1, 2])


def test_literals() -> None:
    """Without a suffix a literal is a float: there is no double."""
    assert value("0.1 + x", x=np.float32(0.2)) == np.float32(0.1) + np.float32(0.2)
    assert value("1.5h * 2.0h", "half") == 3
    assert value("as_type<ushort>(1.0bf)", "ushort") == 0x3F80
    assert value("sizeof(0.1)", "uint") == 4


@pytest.mark.parametrize("x", [1.0, 1.00390625, 3.14159, 65504.0, 1e-8, NAN, INF, -INF, 3e38])
def test_bfloat_rounds_to_even(x: float) -> None:
    bits = np.float32(x).view("u4").item()
    got = value("as_type<ushort>(bfloat(x))", "ushort", x=np.float32(x)).item()
    if math.isnan(x):
        assert got & 0x7F80 == 0x7F80 and got & 0x7F
    else:
        assert got == (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@pytest.mark.parametrize("x", [1.0, 2049.0, 65519.9, 65520.0, 1e-7, 6e-8, NAN, -INF])
def test_half_rounds_to_even(x: float) -> None:
    with np.errstate(over="ignore"):
        want = np.float32(x).astype("f2")
    np.testing.assert_array_equal(value("half(x)", "half", x=np.float32(x)), want)


# --- values ---


@pytest.mark.parametrize("kind", ["int32", "uint32", "int64", "int16", "uint8"])
@pytest.mark.parametrize("op", ["/", "%"])
def test_integer_division_by_zero_goes_on(kind: str, op: str) -> None:
    kinds = {"int32": "int", "uint32": "uint", "int64": "long", "int16": "short", "uint8": "uchar"}
    x, zero = np.array(7, kind), np.array(0, kind)
    got = value(f"(({kinds[kind]})(x {op} y) & 0) + 1", kinds[kind], x=x, y=zero)
    assert got == 1
    assert value(f"x {op} y", kinds[kind], x=x, y=np.array(2, kind)) == (3 if op == "/" else 1)


def test_least_integer_by_minus_one_goes_on() -> None:
    least = np.int32(-(2**31))
    assert value("((x / y) & 0) + 5", "int", x=least, y=np.int32(-1)) == 5


@pytest.mark.parametrize(("x", "want"), [(NAN, 0), (1.9, 1), (-1.9, -1), (INF, 2**31 - 1)])
def test_float_to_int(x: float, want: int) -> None:
    assert value("(int)x", "int", x=np.float32(x)) == want


@pytest.mark.parametrize(("by", "want"), [(1, 6), (32, 3), (33, 6)])
def test_shift_counts_are_masked(by: int, want: int) -> None:
    assert value("x << y", "uint", x=np.uint32(3), y=np.uint32(by)) == want


@pytest.mark.parametrize("f", ["min", "max", "fmin", "fmax"])
def test_extremes_skip_nan(f: str) -> None:
    assert value(f"{f}(x, y)", x=np.float32(NAN), y=np.float32(3)) == 3
    assert value(f"{f}(y, x)", x=np.float32(NAN), y=np.float32(3)) == 3
    assert np.isnan(value(f"{f}(x, x)", x=np.float32(NAN)))


X = np.float32(0.7)
UNARY = {
    "acos": np.arccos, "asin": np.arcsin, "asinh": np.arcsinh, "atan": np.arctan,
    "atanh": np.arctanh, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "exp": np.exp,
    "exp2": np.exp2, "exp10": lambda x: 10**x, "fabs": np.abs, "floor": np.floor, "log": np.log,
    "log2": np.log2, "log10": np.log10, "rint": np.rint, "round": np.round, "sin": np.sin,
    "sinh": np.sinh, "sqrt": np.sqrt, "tan": np.tan, "tanh": np.tanh, "trunc": np.trunc,
    "rsqrt": lambda x: 1 / np.sqrt(x), "sign": np.sign, "fract": lambda x: x - np.floor(x),
    "sinpi": lambda x: np.sin(np.pi * x), "cospi": lambda x: np.cos(np.pi * x),
    "saturate": lambda x: np.clip(x, 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("space", ["", "metal::", "precise::", "fast::"])
def test_mathematics(space: str) -> None:
    calls = "".join(f"out[{i}] = {space}{f}(*x);" for i, f in enumerate(UNARY))
    out = np.zeros(len(UNARY), "f4")
    run(f"kernel void f(device const float* x, device float* out) {{ {calls} }}",
        {0: np.array([X]), 1: out}, 1, 1)  # fmt: skip
    want = [f(np.float64(X)) for f in UNARY.values()]
    np.testing.assert_allclose(out, want, rtol=3e-7, err_msg=str(list(UNARY)))


@pytest.mark.parametrize(
    ("expression", "kind", "want"),
    [
        ("popcount(0xf0u)", "uint", 4), ("clz(1u)", "uint", 31), ("clz(0u)", "uint", 32),
        ("ctz(8u)", "uint", 3), ("clz((ushort)1)", "ushort", 15), ("clz((uchar)0)", "uchar", 8),
        ("reverse_bits(1u)", "uint", 2**31), ("rotate(0x80000001u, 1u)", "uint", 3),
        ("mulhi(0x80000000u, 6u)", "uint", 3), ("mulhi(-5L, 1L)", "long", -1),
        ("mulhi(0xffffffffffffffffUL, 2UL)", "ulong", 1),
        ("addsat((uchar)200, (uchar)100)", "uchar", 255),
        ("subsat((char)-100, (char)100)", "char", -128), ("absdiff(-3, 4)", "int", 7),
        ("hadd(7, 2)", "int", 4), ("rhadd(7, 2)", "int", 5), ("clamp(5, 0, 3)", "int", 3),
        ("extract_bits(0xabcdu, 4, 8)", "uint", 0xBC), ("insert_bits(0u, 5u, 4, 3)", "uint", 80),
        ("abs(-3)", "int", 3), ("min3(3, 1, 2)", "int", 1), ("median3(3, 1, 2)", "int", 2),
        ("fma(2.0f, 3.0f, 1.0f)", "float", 7), ("mix(1.0f, 3.0f, 0.25f)", "float", 1.5),
        ("step(1.0f, 0.5f)", "float", 0), ("smoothstep(0.0f, 1.0f, 0.5f)", "float", 0.5),
        ("fmod(-5.5f, 2.0f)", "float", -1.5), ("ldexp(1.5f, 3)", "float", 12),
        ("ilogb(12.0f)", "int", 3), ("copysign(2.0f, -0.0f)", "float", -2),
        ("isnan(NAN)", "bool", True), ("isinf(-INFINITY)", "bool", True),
        ("isnormal(1e-40f)", "bool", False), ("signbit(-0.0f)", "bool", True),
        ("numeric_limits<int>::max()", "int", 2**31 - 1), ("FLT_MAX > 3e38f", "bool", True),
        ("(float)numeric_limits<half>::lowest()", "float", -65504),
        ("pow(2.0f, 10.0f)", "float", 1024), ("powr(-2.0f, 1.0f) != 0", "bool", True),
        ("fast::divide(1.0f, 4.0f)", "float", 0.25), ("sinpi(1e6f)", "float", 0),
        ("is_same_v<decltype(1.0h + 1.0f), float>", "bool", True),
    ],
)  # fmt: skip
def test_functions(expression: str, kind: str, want: object) -> None:
    assert value(expression, kind) == want


def test_results_through_references() -> None:
    source = """
    kernel void f(device float* out) {
      int e; float whole, c;
      out[0] = frexp(12.0f, e); out[1] = e;
      out[2] = modf(-3.75f, whole); out[3] = whole;
      out[4] = sincos(0.5f, c); out[5] = c;
    }
    """
    out = np.zeros(6, "f4")
    run(source, {0: out}, 1, 1)
    np.testing.assert_allclose(out, [0.75, 4, -0.75, -3, np.sin(0.5), np.cos(0.5)], rtol=1e-6)


# --- templates, namespaces, methods, constants ---


def test_templates_with_host_names() -> None:
    source = """
    namespace ops {
    struct Twice { template <typename T> T operator()(T x) { return x + x; } };
    template <typename T, typename Op = Twice, int N = 2>
    [[kernel]] void apply(device const T* x [[buffer(0)]], device T* y [[buffer(1)]],
                          uint i [[thread_position_in_grid]]) {
      threadgroup T tile[N * 32];
      tile[i] = Op()(x[i]);
      y[i] = tile[i] + (T)N;
    }
    }
    template [[host_name("apply_float")]] [[kernel]] decltype(ops::apply<float>) ops::apply<float>;
    template [[host_name("apply_int")]] kernel void ops::apply<int, ops::Twice, 4>(
        device const int* x [[buffer(0)]], device int* y [[buffer(1)]],
        uint i [[thread_position_in_grid]]);
    """
    library = soft_metal.Library(HEAD + source)
    assert library.functions == ["apply_float", "apply_int"]
    for name, dtype, n in (("apply_float", "f4", 2), ("apply_int", "i4", 4)):
        x, y = np.arange(8).astype(dtype), np.zeros(8, dtype)
        library.pipeline(name).run({0: x, 1: y}, 8, 8)
        np.testing.assert_array_equal(y, 2 * x + n)
        assert library.pipeline(name).static_threadgroup_bytes == 128 * n // 1


def test_overloads_by_address_space() -> None:
    source = """
    struct Pair {
      float a, b;
      float sum() const thread { return a + b; }
      float sum() const device { return 10 * (a + b); }
      float sum() const constant { return 100 * (a + b); }
    };
    float first(device const float* p) { return p[0]; }
    float first(constant float* p) { return -p[0]; }
    kernel void f(device Pair* d, constant Pair& c, device float* out) {
      Pair t = d[0];
      out[0] = t.sum() + d[0].sum() + c.sum();
      out[1] = first(out + 2) + first(&c.a);
    }
    """
    out = np.array([0, 0, 5], "f4")
    run(source, {0: np.array([1, 2], "f4"), 1: np.array([3, 4], "f4").tobytes(), 2: out}, 1, 1)
    assert out.tolist() == [3 + 30 + 700, 2, 5]


def test_sizes_of_threadgroup_variables_beside_constants_of_run_time() -> None:
    """Both may begin with a number: only what a variable names is known before the kernel runs."""
    source = """
    struct Sizes { uint shift; };
    kernel void f(constant Sizes& p, device uint* x, uint i [[thread_position_in_grid]]) {
      const uint columns = 1u << p.shift, rows = 32u >> p.shift;
      const uint WIDE = 2, TILE = 4 * WIDE;
      using Row = uint;
      threadgroup Row t[TILE + 1];
      const uint scale = 10 * columns + p.shift;
      t[i] = scale + rows;
      x[i] = t[i] + TILE;
    }
    """
    x = np.zeros(2, "u4")
    p = pipeline(source)
    p.run({0: np.array([3], "u4").tobytes(), 1: x}, 2, 2)
    assert x.tolist() == [80 + 3 + 4 + 8] * 2
    assert p.static_threadgroup_bytes == 36


def test_tables_in_constant_memory() -> None:
    source = """
    constant float table[4] = {1, 10, 100, 1000};
    constant constexpr int shift = 1;
    kernel void f(device float* x, uint local [[thread_position_in_grid]]) {
      x[local] = table[(local + shift) & 3];
    }
    """
    x = np.zeros(4, "f4")
    counts = run(source, {0: x}, 4, 4)
    assert x.tolist() == [10, 100, 1000, 1]
    assert counts["constant_loads"] == 4


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("scale", [None, 2.5])
def test_function_constants(flag: bool, scale: float | None) -> None:
    source = """
    constant bool flag [[function_constant(0)]];
    constant float scale [[function_constant(3)]];
    kernel void scaled(device float* x, device float* y [[buffer(1), function_constant(flag)]],
                       uint i [[thread_position_in_grid]]) {
      float s = 1;
      if (is_function_constant_defined(scale)) s = scale;
      if (flag) y[i] = x[i] * s; else x[i] *= s;
    }
    """
    given = {0: ("bool", bytes([flag])), 3: ("float", np.float32(scale or 1).tobytes())}
    p = pipeline(source, constants=given)
    assert [a["name"] for a in p.arguments] == (["x", "y"] if flag else ["x"])
    x, y = np.ones(4, "f4"), np.zeros(4, "f4")
    p.run({0: x, 1: y} if flag else {0: x}, 4, 4)
    assert (y if flag else x).tolist() == [scale or 1] * 4


def test_macros_and_versions() -> None:
    source = """
    #if __METAL_VERSION__ < 310 || !defined(__METAL__)
    #error old
    #endif
    METAL_FUNC float f(float x) { return x * FACTOR + M_PI_F; }
    kernel void k(device float* x) { *x = f(*x); }
    """
    x = np.ones(1, "f4")
    run(source, {0: x}, 1, 1, macros={"FACTOR": "3"})
    assert x[0] == np.float32(3) + np.float32(np.pi)


# --- SIMD-group functions ---

LANES = np.arange(32)
SIMD = {
    "simd_sum(v)": lambda v: np.full(32, v.sum()),
    "simd_max(v)": lambda v: np.full(32, v.max()),
    "simd_min(v)": lambda v: np.full(32, v.min()),
    "simd_xor(v)": lambda v: np.full(32, np.bitwise_xor.reduce(v)),
    "simd_or(v)": lambda v: np.full(32, np.bitwise_or.reduce(v)),
    "simd_and(v)": lambda v: np.full(32, np.bitwise_and.reduce(v)),
    "simd_prefix_inclusive_sum(v)": np.cumsum,
    "simd_prefix_exclusive_sum(v)": lambda v: np.cumsum(v) - v,
    "simd_broadcast(v, 5)": lambda v: np.full(32, v[5]),
    "simd_broadcast_first(v)": lambda v: np.full(32, v[0]),
    "simd_shuffle(v, (lane * 7) % 32)": lambda v: v[LANES * 7 % 32],
    "simd_shuffle_xor(v, 3)": lambda v: v[LANES ^ 3],
    "simd_shuffle_down(v, 4)": lambda v: np.where(LANES < 28, v[(LANES + 4) % 32], v),
    "simd_shuffle_up(v, 4)": lambda v: np.where(LANES >= 4, v[LANES - 4], v),
    "simd_shuffle_rotate_down(v, 4)": lambda v: v[(LANES + 4) % 32],
    "simd_shuffle_rotate_up(v, 4)": lambda v: v[LANES - 4],
    "simd_shuffle_and_fill_down(v, w, 4)": lambda v: np.where(
        LANES < 28, v[(LANES + 4) % 32], v[(LANES + 4) % 32] + 1000
    ),
    "simd_shuffle_and_fill_up(v, w, 4)": lambda v: np.where(
        LANES >= 4, v[LANES - 4], v[LANES - 4] + 1000
    ),
    "(int)(uint)(ulong)simd_ballot(v > 40)": lambda v: np.full(
        32, np.sum((v > 40).astype("i8") << LANES)
    ).astype("u4").view("i4")[:32],
    "quad_sum(v)": lambda v: v.reshape(8, 4).sum(1).repeat(4),
    "quad_broadcast(v, 1)": lambda v: v.reshape(8, 4)[:, 1].repeat(4),
    "quad_shuffle_xor(v, 1)": lambda v: v[LANES ^ 1],
    "simd_any(v == 0) + 2 * simd_all(v < 100)": lambda v: np.full(
        32, int((v == 0).any()) + 2 * int((v < 100).all())
    ),
    "(int)simd_is_first()": lambda v: (LANES == 0).astype(int),
}  # fmt: skip


@pytest.mark.parametrize("check", [True, False])
def test_simd_functions(check: bool) -> None:
    calls = "".join(f"out[{i} * 32 + lane] = {call};\n" for i, call in enumerate(SIMD))
    source = f"""kernel void f(device const int* x, device int* out,
                               uint lane [[thread_index_in_simdgroup]]) {{
      int v = x[lane], w = v + 1000;
      {calls}
    }}"""
    x = np.random.default_rng(0).integers(0, 90, 32).astype("i4")
    out = np.zeros((len(SIMD), 32), "i4")
    run(source, {0: x, 1: out}, 32, 32, check=check)
    for row, (call, twin) in zip(out, SIMD.items(), strict=True):
        want = np.asarray(twin(x)).astype("i8").astype("u4").view("i4")[:32]
        np.testing.assert_array_equal(row, want.astype("i4"), err_msg=call)


def test_simd_functions_act_on_the_lanes_that_are_there() -> None:
    source = """
    kernel void f(device int* out, uint i [[thread_position_in_grid]]) {
      int v = 0;
      if (i % 3 == 0) v = simd_sum(1); else v = -simd_sum(1);
      out[i] = v + 100 * simd_sum(1);
    }
    """
    out = np.zeros(40, "i4")
    run(source, {0: out}, 40, 40)
    i = np.arange(40)
    total = np.where(i < 32, 32, 8)
    thirds = np.where(i < 32, 11, 3)
    np.testing.assert_array_equal(out, np.where(i % 3 == 0, thirds, thirds - total) + 100 * total)


def test_absent_lanes_give_no_sensible_value() -> None:
    source = """
    kernel void f(device float* x, uint i [[thread_position_in_grid]]) {
      x[i] = simd_shuffle(x[i], i + 16);
    }
    """
    x = np.ones(16, "f4")
    counts = run(source, {0: x}, 16, 16)
    assert counts["inactive_reads"] == 16
    assert (x != 1).all()
