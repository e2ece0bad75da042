// The one pool of worker threads. Kernels split their own blocks over it.
#pragma once

#include <cstdint>
#include <functional>

namespace lamina {

// Number of threads a parallel region uses, caller included: LAMINA_NUM_THREADS, or the cores this
// process may run on.
int thread_count();

// Runs body(begin, end, thread) over [0, n) split into pieces of at least `grain`; pieces run on
// the caller and the pool's workers, each with a distinct thread in [0, thread_count()). Returns
// when all pieces are done. Runs inline when n <= grain, when one thread is configured, or when
// called from inside a piece. The first exception of a piece is rethrown on the caller.
void parallel_for(int64_t n, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end, int thread)>& body);

}  // namespace lamina
