// Scaled dot-product attention as one operation: the scores are never in memory as a whole.
#pragma once

#include "graph/array.h"

namespace lamina {

// Whether the device that nodes are built for can compute it at once: it compiles text, the dtype
// is float16, bfloat16 or float32, and heads have at most 256 numbers.
bool can_fuse_attention(const Array& q, const Array& k, const Array& v);
// Whether that is quicker than the composition, too: there are few queries, for which the keys are
// what costs, or the scores would fill memory. Many queries are matrix products, which devices have
// units and libraries for.
bool fuses_attention(const Array& q, const Array& k, const Array& v);

// softmax(scale q k^T + mask) v for q (B, H, T, D), k (B, G, S, D) and v (B, G, S, E), G a divisor
// of H: (B, H, T, E), of their promoted dtype, which is one of those above. Sums are float32.
// mask, if not empty, broadcasts to (B, H, T, S): boolean (true stays) or added. `causal`: query t
// sees keys up to t + S - T. sinks, if not empty, (H,) or (B, H): scores that take weight and give
// nothing. REQUIRES: shapes fit, no size is 0.
Array attention(const Array& q, const Array& k, const Array& v, double scale, bool causal,
                const Array& mask, const Array& sinks);

}  // namespace lamina
