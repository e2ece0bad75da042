#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.h"
#include "base/thread_pool.h"
#include "devices/cpu/compile.h"

namespace lamina::cpu {
namespace {

// Lane operations below which waking a worker costs more than it saves, and the least a piece of a
// parallel region should hold.
constexpr int64_t kInlineCost = 128 << 10;
constexpr int64_t kPieceCost = 64 << 10;
constexpr int kMaxLoops = 32;

// Scratch and slots of one thread, kept from launch to launch.
struct ThreadMemory {
  char* data = nullptr;
  int64_t bytes = 0;
  std::vector<char*> slots;
  ~ThreadMemory() { std::free(data); }

  void reserve(int64_t scratch, size_t slot_count) {
    if (slots.size() < slot_count) slots.resize(std::max<size_t>(slot_count, 64));
    if (bytes >= scratch && data) return;
    int64_t size = std::max<int64_t>((scratch + 4095) & ~int64_t{4095}, 64 << 10);
    char* grown = static_cast<char*>(std::aligned_alloc(4096, static_cast<size_t>(size)));
    if (!grown)
      throw OutOfMemory("allocate: out of memory: scratch of " + std::to_string(size) + " bytes",
                        size, 0);
    std::free(data);
    data = grown;
    bytes = size;
  }
};
thread_local ThreadMemory memory;

char* at(char* p, int64_t bytes) { return p + bytes; }

// Runs tiles of one program on one thread.
class Runner {
 public:
  Runner(const Program& program, void* const* buffers, const ScalarValue* scalars) : p_(program) {
    size_t count =
        static_cast<size_t>(p_.args + p_.iotas + p_.scalars + p_.constants + p_.registers);
    memory.reserve(p_.scratch, count);
    char** s = slot_ = memory.slots.data();
    moving_ = p_.args + p_.iotas;
    for (int i = 0; i < p_.args; ++i) *s++ = at(static_cast<char*>(buffers[i]), p_.start[i]);
    for (int i = p_.args; i < moving_; ++i) *s++ = reinterpret_cast<char*>(p_.start[i]);
    for (int i = 0; i < p_.scalars; ++i)
      *s++ = reinterpret_cast<char*>(const_cast<unsigned char*>(scalars[i].bytes));
    for (int i = 0; i < p_.constants; ++i)
      *s++ = reinterpret_cast<char*>(const_cast<uint64_t*>(&p_.constant_words[2 * i]));
    for (int i = 0; i < p_.registers; ++i) *s++ = memory.data + p_.register_offset[i];
    std::memset(index_, 0, sizeof index_[0] * p_.kept.loops.size());
    set_extents(p_.m, p_.n);
    if (!p_.once.empty()) steps(p_.once);
  }

  void kept_tiles(int64_t begin, int64_t end) {
    if (begin >= end) return;
    seek(p_.kept, index_, begin);
    for (int64_t t = begin;;) {
      steps(p_.enter);
      if (p_.reduces) {
        reduced_tiles(0, p_.over.tiles);
        steps(p_.leave);
      }
      if (++t == end) break;
      advance(p_.kept, index_);
    }
  }

  // One kept tile with part of the reduced tiles; leaves the accumulators in their slots.
  void partial(int64_t kept_tile, int64_t begin, int64_t end) {
    seek(p_.kept, index_, kept_tile);
    steps(p_.enter);
    reduced_tiles(begin, end);
  }
  void start_tile(int64_t kept_tile) {
    seek(p_.kept, index_, kept_tile);
    steps(p_.enter);
  }
  void finish_tile() { steps(p_.leave); }
  char* slot(int i) const { return slot_[i]; }
  int64_t lanes(Lanes l) const { return lanes_[static_cast<int>(l)]; }

 private:
  void set_extents(int64_t m, int64_t n) {
    lanes_[0] = 1;
    lanes_[1] = n;
    lanes_[2] = m;
    lanes_[3] = m * n;
  }

  void cut_extents(const Nest& nest, const int64_t* index) {
    int64_t m = lanes_[2], n = lanes_[1];
    for (size_t l = 0; l < nest.loops.size(); ++l) {
      const Loop& loop = nest.loops[l];
      bool last = index[l] == loop.count - 1;
      if (loop.cuts == Lanes::column) m = last ? loop.last * p_.m_inner : p_.m;
      if (loop.cuts == Lanes::row) n = last ? loop.last * p_.n_inner : p_.n;
    }
    set_extents(m, n);
  }

  void shift(const Nest& nest, size_t loop, int64_t times) {
    const int64_t* move = nest.move.data() + loop * static_cast<size_t>(moving_);
    for (int i = 0; i < moving_; ++i)
      slot_[i] = reinterpret_cast<char*>(reinterpret_cast<intptr_t>(slot_[i]) + move[i] * times);
  }

  // Moves to a tile from wherever `index` says the slots are.
  void seek(const Nest& nest, int64_t* index, int64_t tile) {
    for (size_t l = nest.loops.size(); l-- > 0;) {
      int64_t i = tile % nest.loops[l].count;
      tile /= nest.loops[l].count;
      if (i != index[l]) shift(nest, l, i - index[l]);
      index[l] = i;
    }
    if (nest.cuts) cut_extents(nest, index);
  }

  void advance(const Nest& nest, int64_t* index) {
    for (size_t l = nest.loops.size(); l-- > 0;) {
      if (++index[l] < nest.loops[l].count) {
        shift(nest, l, 1);
        break;
      }
      index[l] = 0;
      shift(nest, l, 1 - nest.loops[l].count);
    }
    if (nest.cuts) cut_extents(nest, index);
  }

  void reduced_tiles(int64_t begin, int64_t end) {
    if (begin >= end) return;
    int64_t* index = over_index_;
    std::memset(index, 0, sizeof *index * p_.over.loops.size());
    seek(p_.over, index, begin);
    for (int64_t t = begin;;) {
      steps(p_.body);
      if (++t == end) break;
      advance(p_.over, index);
    }
    seek(p_.over, index, 0);
  }

  int64_t size(const Level& level) const {
    int64_t n = lanes_[static_cast<int>(level.lanes_of)] * level.times;
    return level.over == 1 ? n : n / level.over;
  }

  void steps(const std::vector<Step>& list) {
    for (const Step& s : list) {
      switch (s.kind) {
        case Step::Kind::flat: {
          const void* src[kSources];
          for (int k = 0; k < kSources; ++k) src[k] = slot_[s.src[k]];
          call(s, slot_[s.dst], src, lanes(s.lanes));
          break;
        }
        case Step::Kind::rows:
          rows(s);
          break;
        case Step::Kind::load:
          load(s, 0, slot_[s.dst], slot_[s.src[0]]);
          break;
        case Step::Kind::store:
          store(s, 0, slot_[s.dst], slot_[s.src[0]]);
          break;
        case Step::Kind::iota:
          iota(s, 0, slot_[s.dst], reinterpret_cast<int64_t>(slot_[s.src[0]]));
          break;
        case Step::Kind::column_out:
          column_out(s);
          break;
        case Step::Kind::row_out:
          row_out(s);
          break;
        case Step::Kind::reduce_rows: {
          auto [m, n] = lines(s);
          if (s.arity == 2)
            s.run.dot(slot_[s.dst], slot_[s.src[0]], slot_[s.src[1]], m, n);
          else
            s.run.reduce(slot_[s.dst], slot_[s.src[0]], m, n);
          break;
        }
        case Step::Kind::reduce_cols: {
          auto [m, n] = columns(s);
          s.run.reduce(slot_[s.dst], slot_[s.src[0]], m, n);
          break;
        }
        case Step::Kind::reduce_rows_pitched:
        case Step::Kind::reduce_cols_pitched:
          reduce_pitched(s);
          break;
        case Step::Kind::arg_rows: {
          auto [m, n] = lines(s);
          arg(s, m, n);
          break;
        }
        case Step::Kind::arg_cols: {
          auto [m, n] = columns(s);
          arg(s, m, n);
          break;
        }
      }
    }
  }

  struct Extent {
    int64_t m, n;
  };
  // Of a reduction along contiguous lanes: lines, lanes in each.
  Extent lines(const Step& s) const {
    if (s.along == Lanes::row) return {lanes(without(s.lanes, Lanes::row)), lanes_[1]};
    return {1, lanes(s.lanes)};
  }
  // Of a reduction across lines: lines, lanes in each.
  Extent columns(const Step& s) const {
    if (s.along == Lanes::column) return {lanes_[2], lanes_[1]};
    return {1, lanes(s.lanes)};
  }

  void arg(const Step& s, int64_t m, int64_t n) {
    s.run.arg(slot_[s.dst], reinterpret_cast<uint32_t*>(slot_[s.src[1]]), slot_[s.src[0]],
              reinterpret_cast<int64_t>(slot_[s.src[2]]), m, n);
  }

  static void call(const Step& s, void* dst, const void* const* src, int64_t n) {
    if (s.chained)
      s.run.chain(dst, src, s.singles, n);
    else
      s.run.op(dst, src, n);
  }

  void rows(const Step& s) {
    const Pitch* pitch = &p_.pitches[s.side];
    int64_t m = lanes_[2], n = lanes_[1], step[1 + kSources];
    for (int k = 0; k < 1 + kSources; ++k) step[k] = pitch[k].fixed + n * pitch[k].per_n;
    char* dst = slot_[s.dst];
    const void* src[kSources];
    for (int k = 0; k < kSources; ++k) src[k] = slot_[s.src[k]];
    for (int64_t i = 0; i < m; ++i) {
      call(s, dst, src, n);
      dst += step[0];
      for (int k = 0; k < kSources; ++k) src[k] = static_cast<const char*>(src[k]) + step[k + 1];
    }
  }

  void reduce_pitched(const Step& s) {
    const Pitch* pitch = &p_.pitches[s.side];
    int64_t m = lanes_[2], n = lanes_[1];
    int64_t acc_step = pitch[1].fixed + n * pitch[1].per_n;
    char* acc = slot_[s.dst];
    const char* src = slot_[s.src[0]];
    for (int64_t i = 0; i < m; ++i, acc += acc_step, src += pitch[0].fixed)
      s.run.reduce(acc, src, 1, n);
  }

  // Returns where the next lane is written.
  char* load(const Step& s, int level, char* dst, const char* src) {
    const Level* levels = p_.levels.data() + s.side;
    int left = s.rank - level;
    if (left == 0) {
      s.run.load(dst, src, 1, 1);
      return dst + s.width;
    }
    int64_t m = size(levels[level]), stride = levels[level].stride;
    if (left == 1) {
      s.run.load(dst, src, stride, m);
      return dst + m * s.width;
    }
    if (left == 2) {
      int64_t n = size(levels[level + 1]);
      s.load_2d(dst, src, stride, levels[level + 1].stride, m, n);
      return dst + m * n * s.width;
    }
    for (int64_t i = 0; i < m; ++i, src += stride * s.item) dst = load(s, level + 1, dst, src);
    return dst;
  }

  const char* store(const Step& s, int level, char* dst, const char* src) {
    const Level* levels = p_.levels.data() + s.side;
    int left = s.rank - level;
    if (left == 0) {
      s.run.store(dst, src, 1, 1);
      return src + s.width;
    }
    int64_t n = size(levels[level]), stride = levels[level].stride;
    if (left == 1) {
      s.run.store(dst, src, stride, n);
      return src + n * s.width;
    }
    for (int64_t i = 0; i < n; ++i, dst += stride * s.item) src = store(s, level + 1, dst, src);
    return src;
  }

  char* iota(const Step& s, int level, char* dst, int64_t start) {
    const Level* levels = p_.levels.data() + s.side;
    int left = s.rank - level;
    if (left <= 1) {
      int64_t n = left ? size(levels[level]) : 1;
      int64_t map[2] = {start, left ? levels[level].stride : 0};
      const void* src[1] = {map};
      s.run.op(dst, src, n);
      return dst + n * s.width;
    }
    int64_t n = size(levels[level]);
    for (int64_t i = 0; i < n; ++i, start += levels[level].stride)
      dst = iota(s, level + 1, dst, start);
    return dst;
  }

  template <class T>
  static void repeat_each(char* out, const char* in, int64_t m, int64_t n) {
    T* dst = reinterpret_cast<T*>(out);
    const T* src = reinterpret_cast<const T*>(in);
    for (int64_t i = 0; i < m; ++i, dst += n)
      for (int64_t j = 0; j < n; ++j) dst[j] = src[i];
  }

  void column_out(const Step& s) {
    char* dst = slot_[s.dst];
    const char* src = slot_[s.src[0]];
    int64_t m = lanes_[2], n = lanes_[1];
    switch (s.width) {
      case 1:
        repeat_each<uint8_t>(dst, src, m, n);
        break;
      case 2:
        repeat_each<uint16_t>(dst, src, m, n);
        break;
      case 4:
        repeat_each<uint32_t>(dst, src, m, n);
        break;
      default:
        repeat_each<uint64_t>(dst, src, m, n);
        break;
    }
  }

  // Doubles what is there until all rows are.
  void row_out(const Step& s) {
    char* dst = slot_[s.dst];
    int64_t row = lanes_[1] * s.width, total = lanes_[2] * row;
    if (total == 0) return;
    std::memcpy(dst, slot_[s.src[0]], static_cast<size_t>(row));
    for (int64_t done = row; done < total;) {
      int64_t more = std::min(done, total - done);
      std::memcpy(dst + done, dst, static_cast<size_t>(more));
      done += more;
    }
  }

  const Program& p_;
  char** slot_;
  int moving_;
  int64_t lanes_[4];
  int64_t index_[kMaxLoops];
  int64_t over_index_[kMaxLoops];
};

// ---- reductions with too few kept tiles for all threads

template <class T>
void combine_arg(bool want_max, char* best, uint32_t* index, const char* other,
                 const uint32_t* other_index, int64_t n) {
  T* a = reinterpret_cast<T*>(best);
  const T* b = reinterpret_cast<const T*>(other);
  for (int64_t i = 0; i < n; ++i) {
    bool wins;
    bool nan, was_nan;
    if constexpr (std::is_same_v<T, complex64_t>) {
      auto less = [](T x, T y) {
        return x.real() < y.real() || (x.real() == y.real() && x.imag() < y.imag());
      };
      auto is_nan = [](T x) { return std::isnan(x.real()) || std::isnan(x.imag()); };
      nan = is_nan(b[i]), was_nan = is_nan(a[i]);
      wins = want_max ? less(a[i], b[i]) : less(b[i], a[i]);
    } else {
      nan = b[i] != b[i], was_nan = a[i] != a[i];
      wins = want_max ? b[i] > a[i] : b[i] < a[i];
    }
    wins = !was_nan && (nan || wins);
    if (wins) a[i] = b[i], index[i] = other_index[i];
  }
}

// The accumulators of one part of one kept tile, one after the other.
struct Partials {
  explicit Partials(const Program& program) : p(program) {
    for (const Accumulator& a : p.accumulators) {
      offset.push_back(bytes);
      bytes += place(full(a.lanes) * a.width) + (is_arg(a) ? place(full(a.lanes) * 4) : 0);
    }
  }
  static bool is_arg(const Accumulator& a) { return a.op >= ReduceOp::argmin; }
  static int64_t place(int64_t n) { return (n + 63) & ~int64_t{63}; }
  int64_t full(Lanes lanes) const {
    return (has(lanes, Lanes::column) ? p.m : 1) * (has(lanes, Lanes::row) ? p.n : 1);
  }

  void save(const Runner& run, char* to) const {
    for (size_t i = 0; i < offset.size(); ++i) {
      const Accumulator& a = p.accumulators[i];
      int64_t n = run.lanes(a.lanes);
      char* dst = to + offset[i];
      std::memcpy(dst, run.slot(a.slot), static_cast<size_t>(n * a.width));
      if (is_arg(a))
        std::memcpy(dst + place(full(a.lanes) * a.width), run.slot(a.index_slot),
                    static_cast<size_t>(n * 4));
    }
  }

  void combine(const Runner& run, const char* from) const {
    for (size_t i = 0; i < offset.size(); ++i) {
      const Accumulator& a = p.accumulators[i];
      int64_t n = run.lanes(a.lanes);
      const char* src = from + offset[i];
      if (!is_arg(a)) {
        blocks().reduce_cols[static_cast<int>(a.op)][static_cast<int>(a.dtype)](run.slot(a.slot),
                                                                                src, 1, n);
        continue;
      }
      dispatch(a.dtype, [&](auto zero) {
        using T = decltype(zero);
        combine_arg<T>(a.op == ReduceOp::argmax, run.slot(a.slot),
                       reinterpret_cast<uint32_t*>(run.slot(a.index_slot)), src,
                       reinterpret_cast<const uint32_t*>(src + place(full(a.lanes) * a.width)), n);
      });
    }
  }

  const Program& p;
  std::vector<int64_t> offset;
  int64_t bytes = 0;
};

void run_split(const Program& p, void* const* buffers, const ScalarValue* scalars, int64_t parts) {
  Partials partials(p);
  int64_t pieces = p.kept.tiles * parts;
  std::vector<char> memory_of_parts(static_cast<size_t>(pieces * partials.bytes) + 64);
  auto base = reinterpret_cast<uintptr_t>(memory_of_parts.data());
  char* room = reinterpret_cast<char*>((base + 63) & ~uintptr_t{63});
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
    Runner run(p, buffers, scalars);
    for (int64_t i = begin; i < end; ++i) {
      int64_t part = i % parts;
      run.partial(i / parts, p.over.tiles * part / parts, p.over.tiles * (part + 1) / parts);
      partials.save(run, room + i * partials.bytes);
    }
  });
  Runner run(p, buffers, scalars);
  for (int64_t tile = 0; tile < p.kept.tiles; ++tile) {
    run.start_tile(tile);
    for (int64_t part = 0; part < parts; ++part)
      partials.combine(run, room + (tile * parts + part) * partials.bytes);
    run.finish_tile();
  }
}

// Rounding errors of a sum grow with the tiles added one after the other: long ones are cut into
// about as many parts as each part has tiles.
int64_t parts_for_accuracy(const Program& p) {
  constexpr int64_t kLongSum = 256, kRoom = int64_t{1} << 20;
  if (p.over.tiles < kLongSum) return 1;
  int64_t even = static_cast<int64_t>(std::sqrt(static_cast<double>(p.over.tiles)));
  return std::min(even, kRoom / std::max<int64_t>(Partials(p).bytes * p.kept.tiles, 1));
}

// Parts the reduced tiles of each kept tile are split into; 1: do not split.
int64_t parts_of(const Program& p) {
  int64_t threads = thread_count();
  if (!p.reduces || p.kept.tiles >= 2 * threads || p.over.tiles < 2) return 1;
  int64_t accurate = parts_for_accuracy(p);
  if (threads == 1) return std::max<int64_t>(1, accurate);
  int64_t wanted = (2 * threads + p.kept.tiles - 1) / p.kept.tiles;
  int64_t worth = p.over.tiles * p.body_cost / kPieceCost;
  return std::max({int64_t{1}, accurate, std::min({wanted, worth, p.over.tiles})});
}

}  // namespace

void run(const Program& p, void* const* buffers, const ScalarValue* scalars) {
  if (p.kept.tiles == 0) return;
  int64_t cost = p.cost();
  int64_t parts = cost < kInlineCost ? 1 : parts_of(p);
  if (parts > 1) {
    run_split(p, buffers, scalars, parts);
    return;
  }
  if (cost < kInlineCost || thread_count() == 1) {
    Runner(p, buffers, scalars).kept_tiles(0, p.kept.tiles);
    return;
  }
  int64_t grain = std::max<int64_t>(1, kPieceCost / std::max<int64_t>(cost / p.kept.tiles, 1));
  parallel_for(p.kept.tiles, grain, [&](int64_t begin, int64_t end, int) {
    Runner(p, buffers, scalars).kept_tiles(begin, end);
  });
}

// The instances are laid end to end on a line of cost, which is cut into even pieces; a kept tile
// belongs to the piece its start lies in.
void run_many(std::span<const Device::Instance> instances) {
  auto program = [](const Device::Instance& i) -> const Program& {
    return *static_cast<const Program*>(i.kernel);
  };
  std::vector<int64_t> start(1, 0);
  std::vector<const Device::Instance*> line;
  for (const Device::Instance& i : instances) {
    const Program& p = program(i);
    if (p.kept.tiles == 0) continue;
    if (p.cost() >= kInlineCost && parts_of(p) > 1) {
      run(p, i.buffers, i.scalars);
      continue;
    }
    line.push_back(&i);
    start.push_back(start.back() + p.cost());
  }
  int64_t total = start.back();
  int64_t pieces = std::clamp<int64_t>(total / kPieceCost, 1, int64_t{thread_count()} * 4);
  if (total < kInlineCost) pieces = 1;
  auto piece = [&](int64_t begin, int64_t end) {  // of the line of cost
    size_t k =
        static_cast<size_t>(std::upper_bound(start.begin(), start.end(), begin) - start.begin()) -
        1;
    for (; k < line.size() && start[k] < end; ++k) {
      const Program& p = program(*line[k]);
      int64_t per_tile = std::max<int64_t>(p.cost() / p.kept.tiles, 1);
      auto tile_at = [&](int64_t x) {
        return std::clamp<int64_t>((x - start[k] + per_tile - 1) / per_tile, 0, p.kept.tiles);
      };
      int64_t first = begin <= start[k] ? 0 : tile_at(begin);
      int64_t last = end >= start[k + 1] ? p.kept.tiles : tile_at(end);
      if (first < last) Runner(p, line[k]->buffers, line[k]->scalars).kept_tiles(first, last);
    }
  };
  if (pieces == 1) {
    piece(0, total);
    return;
  }
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
    piece(total * begin / pieces, total * end / pieces);
  });
}

}  // namespace lamina::cpu
