// What tests and benchmarks ask of the CUDA device beyond device.h.
#pragma once

#include <cstdint>

#include "kernels/text.h"

namespace lamina::cuda {

// Since the device opened; zeros before.
struct Figures {
  int64_t launches = 0;                              // kernels, sent by themselves or in a graph
  int64_t graphs = 0;                                // graphs instantiated
  int64_t graph_launches = 0;                        // graphs sent
  int64_t updates = 0;                               // kernel nodes given other parameters
  int64_t compiled = 0, in_memory = 0, on_disk = 0;  // texts, by where their code came from
};
Figures figures();

// How texts are written for a GPU of so many multiprocessors, before what else is known of it.
TextTraits text_traits(int cores);

}  // namespace lamina::cuda
