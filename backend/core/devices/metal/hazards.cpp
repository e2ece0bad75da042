#include "devices/metal/hazards.h"

#include <algorithm>

namespace lamina::metal {

// An access that continues or lies within one of the same kind is merged into it, so that a long
// encoder over one arena keeps a short list.
void Accesses::add(std::span<const Access> accesses) {
  for (const Access& a : accesses) {
    if (a.begin >= a.end) continue;
    auto touches = [&](const Access& r) {
      return r.block == a.block && r.written == a.written && a.begin <= r.end && r.begin <= a.end;
    };
    auto found = std::find_if(ranges_.begin(), ranges_.end(), touches);
    if (found == ranges_.end()) {
      ranges_.push_back(a);
    } else {
      found->begin = std::min(found->begin, a.begin);
      found->end = std::max(found->end, a.end);
    }
  }
}

bool Accesses::conflicts(std::span<const Access> accesses) const {
  for (const Access& a : accesses)
    for (const Access& r : ranges_)
      if ((a.written || r.written) && r.block == a.block && a.begin < r.end && r.begin < a.end)
        return true;
  return false;
}

bool EncoderAccesses::add(std::span<const Access> accesses) {
  const bool barrier = since_barrier_.conflicts(accesses);
  if (barrier) since_barrier_.clear();
  since_barrier_.add(accesses);
  all_.add(accesses);
  return barrier;
}

}  // namespace lamina::metal
