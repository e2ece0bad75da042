#include "module.h"

#include "answers.h"
#include "watch.h"

PYBIND11_MODULE(_core, m) {
  using namespace lamina::python;
  m.doc() = "lamina's compiled core: arrays, operations, transforms, evaluation, recording.";
  init_errors(m);
  init_dtypes(m);
  init_array_type(m);
  init_elementwise(m);
  init_ops(m);
  init_linear_algebra(m);
  init_fft(m);
  init_methods(m);
  init_quantized(m);
  init_export(m);
  init_primitives(m);
  init_text_kernels(m);
  answer_calls(m);
  watch_functions(m);  // those so far compute arrays from arrays
  init_transforms(m);
  init_compile(m);
  init_runtime(m);
  init_devices(m);
  init_metal(m);
  init_trace(m);
  init_io(m);
  init_texts(m);
#ifdef __linux__
  init_soft_metal(m);
#endif
  answer_calls(m);
}
