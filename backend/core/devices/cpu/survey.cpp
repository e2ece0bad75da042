#include "devices/cpu/survey.h"

#include "kernels/formulas.h"

namespace lamina::cpu {
namespace {

class Surveyor {
 public:
  Surveyor(const Kernel& kernel, const Domain& domain, const TiledDomain& tiles, uint32_t looped)
      : kernel_(kernel), domain_(domain), tiles_(tiles), looped_(looped) {}

  Survey run() {
    count_uses();
    s_.joined_by.assign(size(), -1);
    s_.joins.assign(size(), -1);
    length_.assign(size(), 1);
    for (size_t i = 0; i < size(); ++i) join(static_cast<int>(i));
    find_last_reads();
    return std::move(s_);
  }

 private:
  size_t size() const { return kernel_.instrs.size(); }
  const Instr& at(int i) const { return kernel_.instrs[static_cast<size_t>(i)]; }

  void count_uses() {
    s_.stored_by.assign(size(), -1);
    after_reduce_.assign(size(), false);
    users_.assign(size(), 0);
    stored_.assign(size(), 0);
    for (size_t i = 0; i < size(); ++i) {
      const Instr& in = kernel_.instrs[i];
      for (int32_t s : in.src) {
        if (s < 0) continue;
        if (after_reduce_[s]) after_reduce_[i] = true;
        ++users_[root_[s]];
      }
      root_.push_back(same_value(kernel_, in) ? root_[in.src[0]] : static_cast<int>(i));
      if (in.code == Code::reduce) after_reduce_[i] = true;
      s_.part.push_back(part_of(static_cast<int>(i)));
      if (in.code == Code::store) {
        s_.stores.push_back(static_cast<int>(i));
        ++stored_[root_[in.src[0]]];
        if (s_.stored_by[in.src[0]] < 0) s_.stored_by[in.src[0]] = static_cast<int>(i);
      }
    }
    // A load that is stored as it is must be read before any other store.
    for (size_t i = 0; i < size(); ++i) {
      s_.copied.push_back(stored_[i] > 0 && s_.stores.size() > 1);
      s_.only_stored.push_back(users_[i] == 1 && stored_[i] == 1);
    }
  }

  Part part_of(int i) const {
    const Instr& in = at(i);
    uint32_t mask = domain_.mask[i];
    if (kernel_.kind == KernelKind::reduce) {
      if (after_reduce_[i]) return kLeave;
      if (mask & domain_.reduced) return kBody;
      if (in.code == Code::store) return kLeave;
    }
    if (after_reduce_[i] || in.code == Code::store || (looped_ & ~domain_.reduced) == 0)
      return kEnter;
    return (mask & looped_) == 0 && !tiles_.repacked(tiles_.lanes_of(mask)) ? kOnce : kEnter;
  }

  // Whether nothing but `user` needs the value of operation i, and at the same place and lanes.
  bool only_for(int i, int user) const {
    return users_[i] == 1 && stored_[i] == 0 && chain_op(at(i)) != ChainOp::none &&
           s_.part[i] == s_.part[user];
  }

  void join(int i) {
    const Instr& in = at(i);
    if (in.code == Code::reduce) {
      join_product(i, in);
      return;
    }
    if (chain_op(in) == ChainOp::none) return;
    constexpr int kLongest = 3;
    int best = -1;
    for (int k = 0; k < 2; ++k) {
      int s = in.src[k];
      if (at(s).code != Code::op || length_[s] >= kLongest || !only_for(s, i)) continue;
      if (tiles_.lanes_of(domain_.mask[s]) != tiles_.lanes_of(domain_.mask[i])) continue;
      if (best < 0 || length_[s] > length_[best]) best = s;
    }
    if (best < 0) return;
    s_.joined_by[best] = i;
    s_.joins[i] = best;
    length_[i] = length_[best] + 1;
  }

  void join_product(int i, const Instr& in) {
    int s = in.src[0];
    bool product = chain_op(at(s)) == ChainOp::multiply && length_[s] == 1 && users_[s] == 1;
    if (!product || stored_[s] > 0 || static_cast<ReduceOp>(in.op) != ReduceOp::sum) return;
    Part when = kernel_.kind == KernelKind::reduce ? kBody : kEnter;
    if (in.dtype != Dtype::float32 || s_.part[s] != when) return;
    Lanes red = tiles_.reduced_lanes(), lanes = tiles_.lanes_of(domain_.mask[s]);
    bool along = has(red, Lanes::row) || (lanes == Lanes::column && red == Lanes::column);
    if (along && has(lanes, red)) s_.joined_by[s] = i;
  }

  void find_last_reads() {
    s_.last_read.assign(kernel_.args.size(), -1);
    std::vector<int> when(size());  // an operation that is joined reads when the chain's last does
    for (int i = static_cast<int>(size()) - 1; i >= 0; --i)
      when[i] = s_.joined_by[i] >= 0 ? when[s_.joined_by[i]] : i;
    for (size_t i = 0; i < size(); ++i) {
      const Instr& in = kernel_.instrs[i];
      for (int32_t s : in.src) {
        if (s < 0) continue;
        const Instr& from = at(root_[s]);
        if (from.code != Code::load) continue;
        // Stores come last.
        int read = in.code == Code::store ? static_cast<int>(size()) : when[i];
        s_.last_read[from.index] = std::max(s_.last_read[from.index], read);
      }
    }
  }

  const Kernel& kernel_;
  const Domain& domain_;
  const TiledDomain& tiles_;
  const uint32_t looped_;
  Survey s_;
  std::vector<int> root_;  // the instruction whose value this one passes on
  std::vector<bool> after_reduce_;
  std::vector<int> users_, stored_;
  std::vector<int> length_;  // operations in the chain that ends here
};

}  // namespace

Survey survey(const Kernel& kernel, const Domain& domain, const TiledDomain& tiles,
              uint32_t looped) {
  return Surveyor(kernel, domain, tiles, looped).run();
}

bool same_value(const Kernel& kernel, const Instr& cast) {
  return cast.code == Code::cast &&
         compute_dtype(kernel.instrs[static_cast<size_t>(cast.src[0])].dtype) == cast.dtype;
}

ChainOp chain_op(const Instr& in) {
  static const uint16_t add = formula_id("add"), subtract = formula_id("subtract"),
                        multiply = formula_id("multiply");
  if (in.code != Code::op || in.dtype != Dtype::float32) return ChainOp::none;
  if (in.op == add) return ChainOp::add;
  if (in.op == subtract) return ChainOp::subtract;
  return in.op == multiply ? ChainOp::multiply : ChainOp::none;
}

}  // namespace lamina::cpu
