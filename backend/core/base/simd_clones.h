// LAMINA_SIMD_CLONES: copies of a function for wider vectors, one of which is chosen when the
// library is loaded. The thread sanitizer has not begun by then, so there is one copy under it.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_THREAD__)
#define LAMINA_SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LAMINA_SIMD_CLONES
#endif
