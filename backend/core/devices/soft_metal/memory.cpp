#include "devices/soft_metal/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace lamina::soft_metal {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSlot = size_t{1} << Memory::kSlotBits;
// Memory of a dispatch beyond this is given back after it.
constexpr size_t kKeep = size_t{4} << 20;

size_t pages_up(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Addresses for the copies, and the Cells of each; kept, as mapping them anew costs time.
struct Places {
  Pages slots{kSlot * 31, true};
  Pages cells[31];
  char* slot(int i) { return slots.data() + kSlot * static_cast<size_t>(i) + kSlot / 2; }
};

Places& places() {
  static auto* p = new Places;
  return *p;
}

}  // namespace

Pages::Pages(size_t bytes, bool reserve) : bytes_(pages_up(bytes)) {
  void* at = mmap(nullptr, bytes_, reserve ? PROT_NONE : PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED)
    throw DeviceError("soft_metal: cannot reserve " + std::to_string(bytes_) +
                      " bytes of addresses: " + std::strerror(errno) +
                      "\n  set LAMINA_SOFT_METAL_CHECK=0, or lift `ulimit -v`");
  data_ = static_cast<char*>(at);
}

Pages::~Pages() {
  if (data_) munmap(data_, bytes_);
}

void Pages::commit(char* at, size_t bytes) {
  auto begin = reinterpret_cast<uintptr_t>(at) / kPage * kPage;
  auto end = pages_up(reinterpret_cast<uintptr_t>(at) + bytes);
  if (mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE) != 0)
    throw DeviceError("soft_metal: no memory for a checked copy of " + std::to_string(bytes) +
                      " bytes: " + std::strerror(errno));
}

void Pages::forbid(char* at, size_t bytes) {
  if (mprotect(at, bytes, PROT_NONE) != 0)
    throw DeviceError(std::string("soft_metal: cannot guard a stack: ") + std::strerror(errno) +
                      "\n  raise vm.max_map_count");
}

void Pages::clear(char* at, size_t bytes) {
  if (bytes <= kKeep / 16) {
    std::memset(at, 0, bytes);
    return;
  }
  auto begin = reinterpret_cast<uintptr_t>(at) / kPage * kPage;
  auto end = pages_up(reinterpret_cast<uintptr_t>(at) + bytes);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Memory::Memory(const Dispatch& dispatch, bool check) : check_(check) {
  std::fill(std::begin(region_of_), std::end(region_of_), -1);
  merge(dispatch);
  if (check_) place();
  for (const Argument& a : dispatch.pipeline->arguments()) {
    if (a.space == Space::threadgroup) continue;
    const Binding& b = dispatch.buffers[static_cast<size_t>(a.index)];
    const Region& r = regions_[static_cast<size_t>(region_of_[a.index])];
    pointers_[a.index] = r.at + (static_cast<char*>(b.data) - r.original) + b.offset;
  }
}

// Bindings that share memory become one region.
void Memory::merge(const Dispatch& dispatch) {
  struct Piece {
    char *begin, *end;
    const Argument* argument;
  };
  std::vector<Piece> pieces;
  for (const Argument& a : dispatch.pipeline->arguments()) {
    if (a.space == Space::threadgroup) continue;
    const Binding& b = dispatch.buffers[static_cast<size_t>(a.index)];
    auto* begin = static_cast<char*>(b.data);
    pieces.push_back({begin, begin + b.bytes, &a});
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  for (const Piece& p : pieces) {
    const Argument& a = *p.argument;
    int64_t unit = a.alignment <= 0 ? 1 : std::min<int64_t>(a.alignment, 4);
    if (regions_.empty() || p.begin >= regions_.back().original + regions_.back().bytes) {
      Region r;
      r.original = r.at = p.begin;
      r.bytes = 0;
      r.binding = a.index;
      r.constant = true;
      r.granule = unit;
      regions_.push_back(r);
    }
    Region& r = regions_.back();
    r.bytes = std::max<int64_t>(r.bytes, p.end - r.original);
    r.binding = std::min(r.binding, a.index);
    r.writable |= a.written;
    r.constant &= a.space == Space::constant;
    r.granule = std::min(r.granule, unit);
    region_of_[a.index] = static_cast<int>(regions_.size()) - 1;
  }
}

void Memory::place() {
  Places& p = places();
  for (size_t i = 0; i < regions_.size(); ++i) {
    Region& r = regions_[i];
    auto bytes = static_cast<size_t>(r.bytes);
    slot_.push_back(-1);
    if (r.bytes > kCopyLimit) continue;
    slot_[i] = static_cast<int>(i);
    // The same place in its page: what is aligned stays so.
    r.at = p.slot(static_cast<int>(i)) + reinterpret_cast<uintptr_t>(r.original) % kPage;
    p.slots.commit(r.at, bytes);
    std::memcpy(r.at, r.original, bytes);
    if (r.constant) continue;
    size_t cells = (bytes / static_cast<size_t>(r.granule) + 2) * sizeof(Cell);
    if (p.cells[i].bytes() < cells) p.cells[i] = Pages(cells, false);
    r.cells = reinterpret_cast<Cell*>(p.cells[i].data());
  }
}

Memory::~Memory() {
  for (size_t i = 0; i < regions_.size() && check_; ++i) {
    const Region& r = regions_[i];
    auto bytes = static_cast<size_t>(r.bytes);
    if (r.cells)
      Pages::clear(reinterpret_cast<char*>(r.cells),
                   (bytes / static_cast<size_t>(r.granule) + 2) * sizeof(Cell));
    if (slot_[i] >= 0 && bytes > kKeep) Pages::clear(r.at, bytes);
  }
}

void Memory::copy_back() {
  for (Region& r : regions_)
    if (r.at != r.original && r.written.load(std::memory_order_relaxed))
      std::memcpy(r.original, r.at, static_cast<size_t>(r.bytes));
}

Region* Memory::near(const void* address) {
  auto offset =
      reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(places().slots.data());
  if (offset < kSlot * 31) {
    size_t i = offset >> kSlotBits;
    return i < regions_.size() && slot_[i] >= 0 ? &regions_[i] : nullptr;
  }
  const char* at = static_cast<const char*>(address);
  for (size_t i = 0; i < regions_.size(); ++i)
    if (slot_[i] < 0 && at >= regions_[i].at && at < regions_[i].at + regions_[i].bytes)
      return &regions_[i];
  return nullptr;
}

std::vector<Touched> Memory::touched() const {
  std::vector<Touched> out;
  for (const Region& r : regions_) {
    if (!r.cells) {
      out.push_back({r.original, r.original + r.bytes, r.written.load(), r.binding});
      continue;
    }
    for (int64_t i = 0; i <= (r.bytes - 1) / r.granule; ++i) {
      const Cell& c = r.cells[i];
      if (c.writer == 0 && c.reader == 0) continue;
      const char* begin = r.original + i * r.granule;
      bool written = c.writer != 0;
      if (!out.empty() && out.back().end == begin && out.back().written == written &&
          out.back().binding == r.binding)
        out.back().end += r.granule;
      else
        out.push_back({begin, begin + r.granule, written, r.binding});
    }
  }
  return out;
}

}  // namespace lamina::soft_metal
