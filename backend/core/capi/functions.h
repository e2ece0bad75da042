// The functions of lamina_api, by topic. What each does stands in lamina.h.
#pragma once

#include "capi/lamina.h"

namespace lamina::capi {

lamina_status array_copy(const lamina_view* data, lamina_array* out);
lamina_status array_adopt(const lamina_view* data, void (*on_release)(void*), void* owner,
                          lamina_array* out);
lamina_status array_scalar(double value, lamina_dtype dtype, lamina_array* out);
lamina_status array_full(const lamina_type* type, double value, lamina_array* out);
void retain(lamina_array handle);
void release(lamina_array handle);
lamina_status array_type(lamina_array array, lamina_view* out);
lamina_status array_data(lamina_array array, lamina_view* out);
lamina_status array_read(lamina_array array, void* to, size_t bytes);
lamina_status eval(const lamina_array* arrays, size_t count);

lamina_status op(const char* name, const lamina_array* inputs, size_t input_count,
                 const lamina_param* params, size_t param_count, lamina_array* results,
                 size_t capacity);

lamina_status define(const lamina_primitive* primitive);
lamina_status parallel_for(int64_t n, int64_t grain,
                           lamina_status (*body)(void* user, int64_t begin, int64_t end),
                           void* user);
lamina_status add_kernel(lamina_program program, const lamina_kernel* kernel);
lamina_status add_temporary(lamina_program program, int64_t bytes, int32_t* operand);

const char* device_name(size_t number);
const char* default_device();
lamina_status set_default_device(const char* name);

}  // namespace lamina::capi
