#if defined(__aarch64__)
#define LAMINA_ISA_NS neon
#define LAMINA_PART_CHAIN
#include "devices/cpu/blocks_isa.inc"
#endif
