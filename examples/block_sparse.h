// What the two files of the block-sparse product share.
#pragma once

#include <lamina.h>

extern const lamina_api* api;

// The kernels as text, for devices that compile it.
lamina_status blocks_product_text(const lamina_call*, const lamina_device*, const lamina_view*,
                                  const lamina_view*, lamina_program);
lamina_status blocks_values_text(const lamina_call*, const lamina_device*, const lamina_view*,
                                 const lamina_view*, lamina_program);
lamina_status blocks_x_text(const lamina_call*, const lamina_device*, const lamina_view*,
                            const lamina_view*, lamina_program);
