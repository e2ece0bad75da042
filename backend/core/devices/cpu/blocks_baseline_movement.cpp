#define LAMINA_ISA_NS baseline
#define LAMINA_PART_MOVEMENT
#include "devices/cpu/blocks_isa.inc"
