"""What Metal's compiler refuses, software Metal refuses too, in the user's own terms and lines."""

from __future__ import annotations

import numpy as np
import pytest
from lamina import soft_metal
from msl import HEAD, broken, run

K = "kernel void f(device float* x) {"
E = "kernel void f(device float* x) {}"
T = " threadgroup float t[4];"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (K + " y = 1; }", ["program_source:3", "undeclared identifier 'y'"]),
        (K + " *x = 1 }", ["expected ';'"]),
        ("kernel void f(float* x) {}", ["float* x", "names no address space"]),
        ("float g(float& x) { return x; }\n" + E, ["program_source:3", "`g`"]),
        (K + " threadgroup float* p = x; }", ["threadgroup", "device"]),
        (
            "float g(thread float* p) { return *p; }\n" + K + " *x = g(x); }",
            ["program_source:4", "no matching function"],
        ),
        ("void g(thread float& r) { r = 1; }\n" + K + " g(x[0]); }", ["no matching function"]),
        ("template <typename T> void g(device T* p) { *p = 1; }\n" + K + T + " g(t); }", ["'g'"]),
        (K + T + " device float* p = (device float*)t; *p = 1; }", ["mismatching address spaces"]),
        (
            K + T + " device float* p = reinterpret_cast<device float*>(t); *p = 1; }",
            ["threadgroup"],
        ),
        (K + " float v = 1; device float* p = &v; *p = 2; }", ["device float", "thread float"]),
        (K + " thread float* p = x; *p = 1; }", ["thread float", "device float"]),
        (
            "device float* g(threadgroup float* t) { return t; }\n" + E,
            ["device float", "threadgroup float"],
        ),
        (
            "kernel void f(constant float* c, device float* x)"
            " { device const float* p = c; x[0] = *p; }",
            ["device float", "constant float"],
        ),
        (
            "kernel void f(threadgroup float& t [[threadgroup(0)]], device float* x)"
            " { device float& r = t; r = 1; }",
            ["changes address space"],
        ),
        ("struct S { float* p; };\n" + E, ["program_source:3", "`float* p`", "address space"]),
        (
            "struct S {\n  int n;\n  thread float* p;\n  int& q;\n};\n" + E,
            ["program_source:6", "q"],
        ),
        ("kernel void f(constant float* x) { *x = 1; }", ["constant"]),
        ("float total = 0;\n" + E, ["`total`", "constant address space"]),
        ("constexpr int N = 4;\n" + E, ["`N`", "constant address space"]),
        (K + " double y = 1; }", ["`double`"]),
        (K + " long long y = 1; }", ["`long long`"]),
        (K + " int* p = new int; }", ["`new`"]),
        (K + " try { *x = 1; } catch (...) {} }", ["exceptions"]),
        ("struct S { virtual void g() {} };\n" + E, ["`virtual`"]),
        (K + " goto end; end: *x = 1; }", ["`goto`"]),
        (
            "int g(int n) { return n ? g(n - 1) : 0; }\n" + K + " *x = g(3); }",
            ["`g` calls itself"],
        ),
        (
            "int h(int n);\nint g(int n) { return h(n); }\n"
            + "int h(int n) { return n ? g(n - 1) : 0; }\n"
            + K
            + " *x = g(3); }",
            ["program_source:5", "`g` calls itself through `h`", "write a loop"],
        ),
        (K + "\n  if (x[0] > 0) {\n}", ["program_source:3: error: `{` is never closed"]),
        (E + "\n}", ["program_source:4: error: `}` closes nothing\n  }\n  remove it"]),
        (K + " x[0] = (1; }", ["program_source:3: error: `(` is never closed"]),
        (K + " x[0) = 1; }", ["program_source:3: error: `[` is never closed"]),
        ('#line 7 "part"\n#include <map>\n' + E, ["part:7: error: 'map' file not found"]),
        ("#include <vector>\n" + E, ["'vector' file not found"]),
        (K + " *x = std::sin(1.0f); }", ["`std`"]),
        ("kernel int f(device float* x) { return 1; }", ["must return void"]),
        (
            "kernel void f(device float* x [[buffer(1)]], device float* y [[buffer(1)]]) {}",
            ["buffer(1)"],
        ),
        ("kernel void f(device float* x [[buffer(31)]]) {}", ["index 31"]),
        ("kernel void f(device float* x, uint i) {}", ["`i`", "no attribute"]),
        (
            "kernel void f(device float* x, float i [[thread_position_in_grid]]) {}",
            ["`i`", "float"],
        ),
        (
            "kernel void f(device float* x, uint i [[thread_position_in_grid]],"
            " uint3 n [[threads_per_grid]]) {}",
            ["same number of components"],
        ),
        (
            "kernel void f(device float* x, threadgroup float* t [[buffer(1)]]) {}",
            ["different address spaces"],
        ),
        (K + "}\nkernel void f(device int* x) {}", ["`f`"]),
        (
            "kernel void f(device bfloat* x) { float y = *x; *x = y; }",
            ["no implicit conversion to 'bfloat'"],
        ),
        ("kernel void f(device half* x, device bfloat* y) { half h = *y; *x = h; }", ["bfloat"]),
        (K + " *x = erf(*x); }", ["erf"]),
        ("kernel void f(device float4* x) { *x = float4(1, 2); }", ["program_source:3"]),
        ("kernel void f(device float4* x) { float2 y = x[0]; }", ["program_source:3"]),
        (
            "kernel void f(device atomic_float* x) {"
            " atomic_fetch_max_explicit(x, 1.0f, memory_order_relaxed); }",
            ["atomic_fetch_max_explicit"],
        ),
        ("kernel void f(device long* x) { *x = simd_sum(*x); }", ["SIMD-group functions take"]),
        (K + " threadgroup float t[4] = {1, 2, 3, 4}; }", ["initial value"]),
        (K + " simdgroup_matrix<float, 4, 4> m; }", ["8x8"]),
        (
            "kernel void f(device float4* x) {\n  *x = (float4)(1, 2, 3, 4);\n}",
            ["program_source:4", "comma operator", "write `float4(a, b, ..)`"],
        ),
        (
            "kernel void f(device float4* x) { *x = (const metal::vec<float, 4>)(x[0].xy, 1); }",
            ["comma operator"],
        ),
        (
            "using V = half2;\nkernel void f(device V* x) { *x = x[1] + (V)(1, 2); }",
            ["program_source:4", "`(V)(a, b, ..)`"],
        ),
        (
            "kernel void f(device atomic_uint* x) {\n"
            "  atomic_fetch_add_explicit(x, 1u,\n    memory_order_seq_cst); }",
            ["program_source:5", "`atomic_fetch_add_explicit`", "memory_order_relaxed, all"],
        ),
        (
            "kernel void f(device atomic_uint* x) {"
            " atomic_store_explicit(x, 1u, metal::memory_order_release); }",
            ["cannot have the order memory_order_release"],
        ),
        (
            K + "\n  threadgroup atomic_float t; }",
            ["program_source:4", "device memory only", "atomic_compare_exchange_weak_explicit"],
        ),
        (
            "kernel void f(volatile threadgroup metal::atomic<float>* t [[threadgroup(0)]]) {}",
            ["atomic_float in threadgroup memory"],
        ),
        (
            "struct A { int n; };\nstruct B : A { int m; };\n"
            "kernel void f(device float* x,\n  constant B& b) { *x = b.m; }",
            ["program_source:6", "kernel `f`", "`B`, which is derived", "make the base a member"],
        ),
        (
            "struct S { int n; int get() const { return n; } };\n"
            "kernel void f(device S* s, device int* x) {\n  *x = s->get();\n}",
            [
                "program_source:5",
                "method `get` of `S` is called on `s`, which is in the device address space",
                "write `device` after",
            ],
        ),
        (
            "struct S { int n; void set(int v) { n = v; } };\n"
            + K
            + "\n  threadgroup S s[4];\n  s[1].set(2); }",
            ["program_source:6", "`set`", "threadgroup address space"],
        ),
        (
            "struct S { int n; int get() const { return n; } };\n"
            "int h(device const S* s) { return (*s).get(); }\n" + E,
            ["program_source:4", "`get`", "device address space"],
        ),
    ],
)
def test_refused(source: str, words: list[str]) -> None:
    with broken("compile", *words):
        soft_metal.Library(HEAD + source)


def test_errors_show_the_users_line() -> None:
    source = K + "\n  int local = 1;\n  x[0] = lokal;\n}\n"
    with broken("compile", "program_source:5: error:", "'lokal'", "  x[0] = lokal;") as info:
        soft_metal.Library(HEAD + source)
    assert "__" not in str(info.value)


def test_members_that_name_a_space_or_are_no_pointers() -> None:
    source = """
    template <typename T, int N>
    struct Tile {
      using Pointer = device T*;
      device const T* from; threadgroup T *to = nullptr;
      thread float& sum;
      T values[N * 2];
      enum { kind = 3 & 1 };
      struct { int a, b; } pair;
      int product(int a, const thread int* b) const { return a * *b; }
      T operator*(T other) const { return other; }
    };
    kernel void f(device float* x) { x[0] = 1; }
    """
    soft_metal.Library(HEAD + source)


def test_what_only_looks_like_those() -> None:
    source = """
    struct A { int n; A plus(int m) const { A a; a.n = n + m; return a; } };
    struct B : A { static int two() { return 2; } };
    enum class Kind : uchar { one, two };
    struct S {
      int n;
      int get() const { return n; }
      int get() const device { return n + 1; }
      int get() const threadgroup { return n + 2; }
      int own() const { return this->n; }
      static int most() { return 9; }
    };
    int reads(const device S& s) { S copy = s; return copy.own() + s.get() + s.most(); }
    int shadowed(device S* s) { { S s; s.n = 1; return s.own(); } }
    kernel void f(device atomic_uint* x, device S* s, device A& a, device int* out,
                  device atomic_float* sums) {
      threadgroup S t[2];
      t[0].n = 5;
      const float2 v = (float2)(max(1.0f, 2.0f)) + float2(1, 2);
      const float4 w = (float4)vec<float, 4>(1, 2, 3, 4);
      atomic_thread_fence(mem_flags::mem_device, memory_order_seq_cst, thread_scope_device);
      atomic_fetch_add_explicit(x, uint(sizeof(float4)), memory_order_relaxed);
      atomic_fetch_add_explicit(sums, v.x + w.y, memory_order_relaxed);
      B b;
      b.n = t[0].get() + s->get() + reads(s[0]) + shadowed(s) + B::two() + int(Kind::two);
      A copy = a;
      *out = b.n + copy.plus(1).n;
    }
    """
    x, s, out = np.zeros(1, "u4"), np.full(1, 3, "i4"), np.zeros(1, "i4")
    sums = np.zeros(1, "f4")
    run(source, {0: x, 1: s, 2: np.full(1, 10, "i4"), 3: out, 4: sums}, 1, 1)
    assert out[0] == (7 + 4 + (3 + 4 + 9) + 1 + 2 + 1) + 11
    assert (x[0], sums[0]) == (16, 5)
