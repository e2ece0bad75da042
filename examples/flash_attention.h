// What the files of flash attention share.
#pragma once

#include <lamina.h>

extern const lamina_api* api;

// The kernels as text, for devices that compile it.
lamina_status flash_text(const lamina_call*, const lamina_device*, const lamina_view*,
                         const lamina_view*, lamina_program);
lamina_status flash_backward_text(const lamina_call*, const lamina_device*, const lamina_view*,
                                  const lamina_view*, lamina_program);

// Tangents of the result and of the logsumexp.
lamina_status flash_jvp(const lamina_call*, const lamina_array* in, const lamina_array* tangents,
                        lamina_array* results);
