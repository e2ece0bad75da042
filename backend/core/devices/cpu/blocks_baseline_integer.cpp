#define LAMINA_ISA_NS baseline
#define LAMINA_PART_INTEGER
#include "devices/cpu/blocks_isa.inc"
