// The parts of the compiled module, one function per file.
#pragma once

#include "array_type.h"

namespace lamina::python {

void init_errors(py::module_& m);
void init_dtypes(py::module_& m);
void init_elementwise(py::module_& m);  // one loop over the registry per signature
void init_ops(py::module_& m);
void init_linear_algebra(py::module_& m);  // mx.linalg
void init_fft(py::module_& m);             // mx.fft
void init_methods(py::module_& m);         // methods and properties of array
void init_transforms(py::module_& m);
void init_compile(py::module_& m);  // mx.compile
void init_export(py::module_& m);
void init_runtime(py::module_& m);  // eval, testing
void init_devices(py::module_& m);  // devices, their memory
// Waits for the devices without the interpreter lock.
void wait_unlocked();
// What mx.eval adds to mx.async_eval.
void wait_for_unlocked(std::span<const Array> roots);
void init_metal(py::module_& m);
void init_trace(py::module_& m);
void init_io(py::module_& m);
void init_texts(py::module_& m);  // kernels as text
void init_soft_metal(py::module_& m);
void init_primitives(py::module_& m);    // what programs register
void init_text_kernels(py::module_& m);  // mx.fast.metal_kernel
void init_quantized(py::module_& m);     // quantized matrices, variants of the matrix product

}  // namespace lamina::python
