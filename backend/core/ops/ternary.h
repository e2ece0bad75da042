// Rows of three inputs. See ops/elementwise_row.h for what a row states.
#pragma once

#include "ops/elementwise_row.h"

namespace lamina {

template <class V>
void ternary_rows(V& v) {
  v.row(
      RowInfo{.name = "select",
              .doc = "y where the condition x holds, z elsewhere.",
              .numpy = "np.where(x, y, z)",
              .accepts = Accepts::selection},
      [](auto x, auto y, auto z) { return select(x, y, z); }, NoPartial{},
      [](const auto& x, const auto&, const auto&, const auto& out) {
        return select(x, ones_like(out), zeros_like(out));
      },
      [](const auto& x, const auto&, const auto&, const auto& out) {
        return select(x, zeros_like(out), ones_like(out));
      });
}

}  // namespace lamina
