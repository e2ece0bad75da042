// Compiled with -mavx2 -mfma -mf16c.
#if defined(__x86_64__)
#define LAMINA_ISA_NS avx2
#define LAMINA_PART_CHAIN
#include "devices/cpu/blocks_isa.inc"
#endif
