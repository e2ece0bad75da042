// Compiled with -march=skylake-avx512 -mprefer-vector-width=512.
#if defined(__x86_64__)
#define LAMINA_ISA_NS avx512
#define LAMINA_PART_CHAIN
#include "devices/cpu/blocks_isa.inc"
#endif
