#include "kernels/formulas.h"

#include <unordered_map>

#include "base/error.h"
#include "kernels/expr.h"
#include "ops/binary.h"
#include "ops/ternary.h"
#include "ops/unary.h"

namespace lamina {
namespace {

class Collector {
 public:
  template <class F, class... P>
  void row(const RowInfo& info, F formula, P...) {
    Sym x = Sym::input(0), y = Sym::input(1), z = Sym::input(2);
    if constexpr (requires { formula(x); }) {
      add(info, 1, formula(x));
    } else if constexpr (requires { formula(x, y); }) {
      add(info, 2, formula(x, y));
    } else {
      add(info, 3, formula(x, y, z));
    }
  }
  std::vector<Formula> take() { return std::move(formulas_); }

 private:
  void add(const RowInfo& info, int arity, const Sym& written) {
    formulas_.push_back({info, arity, info.expr ? info.expr : written.text});
  }
  std::vector<Formula> formulas_;
};

}  // namespace

const std::vector<Formula>& formulas() {
  static const std::vector<Formula> all = [] {
    Collector collector;
    unary_rows(collector);
    binary_rows(collector);
    ternary_rows(collector);
    return collector.take();
  }();
  return all;
}

uint16_t formula_id(const std::string& name) {
  static const std::unordered_map<std::string, uint16_t> ids = [] {
    std::unordered_map<std::string, uint16_t> map;
    for (const Formula& f : formulas()) map.emplace(f.info.name, static_cast<uint16_t>(map.size()));
    return map;
  }();
  auto found = ids.find(name);
  if (found == ids.end()) throw InternalError("no elementwise row is named " + name);
  return found->second;
}

}  // namespace lamina
