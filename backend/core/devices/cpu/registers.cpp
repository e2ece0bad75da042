#include "devices/cpu/registers.h"

#include <algorithm>
#include <map>

namespace lamina::cpu {
namespace {

// Positions count steps through the four parts in order.
struct Life {
  int first = -1, first_part = 0;
  int last = -1;
};

bool is_register(uint16_t slot) { return slot >= kFirstRegister; }

int sources(const Step& step) {
  switch (step.kind) {
    case Step::Kind::flat:
    case Step::Kind::rows:
      return step.arity;
    case Step::Kind::arg_rows:
    case Step::Kind::arg_cols:
      return 2;
    case Step::Kind::reduce_rows:
      return step.arity == 2 ? 2 : 1;
    default:
      return 1;
  }
}

class Assigner {
 public:
  Assigner(Program& program, std::vector<Step> (&parts)[4], const std::vector<RegisterSize>& sizes)
      : program_(program),
        parts_(parts),
        sizes_(sizes),
        life_(sizes.size()),
        place_(sizes.size(), -1) {}

  void run() {
    measure();
    place_all();
    renumber();
  }

 private:
  template <class F>
  void each_step(F f) {
    int at = 0;
    for (int part = 0; part < 4; ++part)
      for (Step& step : parts_[part]) f(step, at++, part);
  }

  void measure() {
    int end[4], total = 0;
    for (int part = 0; part < 4; ++part) end[part] = total += static_cast<int>(parts_[part].size());
    auto touch = [&](uint16_t slot, int at, int part) {
      if (!is_register(slot)) return;
      Life& life = life_[slot - kFirstRegister];
      if (life.first < 0) life.first = at, life.first_part = part;
      int last = at;
      // What was made outside a loop must outlive every turn of it.
      if (life.first_part == 0 && part > 0) last = total;
      if (life.first_part == 1 && part == 2) last = end[2];
      life.last = std::max(life.last, last);
    };
    each_step([&](Step& step, int at, int part) {
      for (int k = 0; k < sources(step); ++k) touch(step.src[k], at, part);
      touch(step.dst, at, part);
    });
  }

  // A step may write over a source that dies with it if lanes line up.
  bool may_overwrite(const Step& step, int k) const {
    if (!is_register(step.dst) || !is_register(step.src[k])) return false;
    const RegisterSize& from = sizes_[step.src[k] - kFirstRegister];
    const RegisterSize& to = sizes_[step.dst - kFirstRegister];
    if (from.lanes != to.lanes || from.width != to.width) return false;
    if (step.kind == Step::Kind::flat) return true;
    if (step.kind != Step::Kind::rows) return false;
    const Pitch& a = program_.pitches[step.side];
    const Pitch& b = program_.pitches[step.side + 1 + static_cast<uint32_t>(k)];
    return a.fixed == b.fixed && a.per_n == b.per_n;
  }

  void free_if_dead(uint16_t slot, int at) {
    if (!is_register(slot)) return;
    size_t v = slot - kFirstRegister;
    if (life_[v].last != at || place_[v] < 0 || freed_[v]) return;
    freed_[v] = true;
    free_[sizes_[v].bytes].push_back(place_[v]);
  }

  void place_all() {
    freed_.assign(sizes_.size(), false);
    each_step([&](Step& step, int at, int) {
      for (int k = 0; k < sources(step); ++k)
        if (may_overwrite(step, k)) free_if_dead(step.src[k], at);
      if (is_register(step.dst) && place_[step.dst - kFirstRegister] < 0)
        place_[step.dst - kFirstRegister] = take(sizes_[step.dst - kFirstRegister].bytes);
      for (int k = 0; k < sources(step); ++k) free_if_dead(step.src[k], at);
      free_if_dead(step.dst, at);
    });
  }

  int take(int64_t bytes) {
    auto& list = free_[bytes];
    if (!list.empty()) {
      int place = list.back();
      list.pop_back();
      return place;
    }
    program_.register_offset.push_back(static_cast<int32_t>(program_.scratch));
    program_.scratch += bytes;
    return static_cast<int>(program_.register_offset.size()) - 1;
  }

  uint16_t renumbered(uint16_t slot) const {
    int base = program_.args + program_.iotas + program_.scalars;
    if (is_register(slot))
      return static_cast<uint16_t>(base + program_.constants + place_[slot - kFirstRegister]);
    if (slot >= kFirstConstant) return static_cast<uint16_t>(base + slot - kFirstConstant);
    return slot;
  }

  void renumber() {
    each_step([&](Step& step, int, int) {
      step.dst = renumbered(step.dst);
      for (uint16_t& s : step.src) s = renumbered(s);
    });
    for (Accumulator& a : program_.accumulators) {
      a.slot = renumbered(a.slot);
      a.index_slot = renumbered(a.index_slot);
    }
    program_.registers = static_cast<int>(program_.register_offset.size());
    program_.once = std::move(parts_[0]);
    program_.enter = std::move(parts_[1]);
    program_.body = std::move(parts_[2]);
    program_.leave = std::move(parts_[3]);
  }

  Program& program_;
  std::vector<Step> (&parts_)[4];
  const std::vector<RegisterSize>& sizes_;
  std::vector<Life> life_;
  std::vector<int> place_;
  std::vector<bool> freed_;
  std::map<int64_t, std::vector<int>> free_;
};

}  // namespace

void assign_registers(Program& program, std::vector<Step> (&parts)[4],
                      const std::vector<RegisterSize>& sizes) {
  Assigner(program, parts, sizes).run();
}

}  // namespace lamina::cpu
