#define LAMINA_ISA_NS baseline
#define LAMINA_PART_CHAIN
#include "devices/cpu/blocks_isa.inc"
