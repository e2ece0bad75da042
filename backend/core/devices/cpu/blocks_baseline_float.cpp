#define LAMINA_ISA_NS baseline
#define LAMINA_PART_FLOAT
#include "devices/cpu/blocks_isa.inc"
