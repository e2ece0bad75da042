// The part of simt.h that the double itself needs: what it hands to a kernel's module.
#pragma once

namespace cuda_double {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

struct SimtHost {
  Dim *thread, *block, *grid, *threads;
  void (*meet_block)();
  void (*meet_warp)(unsigned mask);
  unsigned long long* (*warp_slots)();
  unsigned (*warp_lanes)();
};

}  // namespace cuda_double
