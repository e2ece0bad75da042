// Blocks, slabs, adopted pages; what is kept resident.
#include <unistd.h>

#include "rig.h"

namespace {

int64_t live_buffers() {
  std::lock_guard lock(world().mutex);
  return world().seen.live_buffers;
}

}  // namespace

TEST(an_address_leads_to_its_block) {
  Rig rig;
  auto* large = static_cast<char*>(rig.memory->take(1'000'000));
  Place place = rig.memory->find(large + 999'999);
  EQUAL(place.offset, 999'999);
  EQUAL(place.block->start, large);
  CHECK(!rig.memory->find(large + 2'000'000).block);
  int local = 0;
  CHECK(!rig.memory->find(&local).block);
  rig.memory->give(large, 1'000'000);
  CHECK(!rig.memory->find(large).block);
}

TEST(small_arrays_share_blocks) {
  Rig rig;
  std::vector<char*> all;
  for (int i = 0; i < 5000; ++i) {
    auto* p = static_cast<char*>(rig.memory->take(200));
    EQUAL(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    std::fill_n(p, 200, static_cast<char>(i));
    all.push_back(p);
  }
  EQUAL(live_buffers(), 2);  // 4096 pieces of 256 bytes each
  for (int i = 0; i < 5000; ++i) {
    EQUAL(all[static_cast<size_t>(i)][199], static_cast<char>(i));
    rig.memory->give(all[static_cast<size_t>(i)], 200);
  }
  EQUAL(live_buffers(), 2);
  rig.memory->trim();
  EQUAL(live_buffers(), 0);
  CHECK(rig.memory->take(200) != nullptr);
}

TEST(a_slab_in_use_is_not_trimmed) {
  Rig rig;
  void* kept = rig.memory->take(100);
  rig.memory->trim();
  EQUAL(live_buffers(), 1);
  rig.memory->give(kept, 100);
}

TEST(memory_that_is_refused_is_null_and_the_rest_works) {
  Machine machine;
  machine.memory = 64 << 20;
  machine.buffer_limit = 48 << 20;
  Rig rig(machine);
  CHECK(!rig.memory->take(49 << 20));
  void* some = rig.memory->take(40 << 20);
  CHECK(some != nullptr);
  CHECK(!rig.memory->take(30 << 20));
  rig.memory->give(some, 40 << 20);
  void* again = rig.memory->take(30 << 20);
  CHECK(again != nullptr);
  inject(Point::buffer, {0, 1});
  CHECK(!rig.memory->take(1 << 20));
  inject(Point::buffer, {0, 1});
  CHECK(!rig.memory->take(100));
  CHECK(rig.memory->take(100) != nullptr);
}

TEST(whole_pages_are_adopted_without_a_copy) {
  Rig rig;
  const auto page = static_cast<size_t>(getpagesize());
  auto* data = static_cast<float*>(std::aligned_alloc(page, 4 * page));
  const auto count = static_cast<int64_t>(3 * page / 4 + 7);  // ends inside of a page
  std::fill_n(data, count, 2.0f);
  CHECK(rig.memory->offer(data, count * 4));
  CHECK(rig.memory->offer(data, count * 4));
  EQUAL(live_buffers(), 0);
  float* out = rig.array(count);
  EQUAL(live_buffers(), 1);
  hold(true);
  rig.scale(out, data, 3, count);
  rig.queue->commit();
  EQUAL(live_buffers(), 2);
  rig.memory->withdraw();
  EQUAL(live_buffers(), 2);  // the command buffer needs it
  hold(false);
  rig.queue->synchronize();
  EQUAL(out[count - 1], 6.0f);
  while (!rig.queue->done(rig.queue->last_ticket())) std::this_thread::yield();
  EQUAL(live_buffers(), 1);
  // Another array at the same place, of which less is offered.
  CHECK(rig.memory->offer(reinterpret_cast<char*>(data) + page, 100));
  CHECK(!rig.memory->find(data).block);
  EQUAL(rig.memory->find(reinterpret_cast<char*>(data) + page + 50).offset, 50);
  CHECK(rig.memory->offer(data, count * 4));
  EQUAL(rig.memory->find(reinterpret_cast<char*>(data) + 2 * page).offset,
        static_cast<int64_t>(2 * page));
  rig.memory->withdraw();
  std::free(data);
}

TEST(what_is_not_of_whole_pages_must_be_copied) {
  Rig rig;
  const auto page = static_cast<size_t>(getpagesize());
  auto* data = static_cast<char*>(std::aligned_alloc(page, 2 * page));
  CHECK(!rig.memory->offer(data + 64, 1000));
  CHECK(!rig.memory->offer(data, 0));
  inject(Point::adopt, {0, 1});
  CHECK(!rig.memory->offer(data, 1000));
  CHECK(rig.memory->offer(data, 1000));
  inject(Point::adopt, {0, 1});
  CHECK(!rig.memory->find(data).block);
  std::free(data);
}

TEST(nothing_is_wired_without_a_limit) {
  Rig rig;
  Residency residency(*rig.host, rig.queue->handle());
  Memory memory(*rig.host);
  memory.watch(&residency);
  void* data = memory.take(1 << 20);
  EQUAL(residency.wired(), 0);
  EQUAL(world().seen.resident_sets, 0);
  memory.give(data, 1 << 20);
}

TEST(blocks_are_wired_up_to_the_limit) {
  Rig rig;
  Residency residency(*rig.host, rig.queue->handle());
  Memory memory(*rig.host);
  memory.watch(&residency);
  constexpr int64_t kMega = 1 << 20;
  EQUAL(residency.set_limit(300 * kMega), 0);
  std::vector<void*> all;
  for (int i = 0; i < 4; ++i) all.push_back(memory.take(100 * kMega));
  EQUAL(residency.wired(), 300 * kMega);
  EQUAL(world().seen.resident_bytes, 300 * kMega);
  // A set holds a twentieth of the working set: three of these blocks.
  CHECK(residency.set_bytes() >= 300 * kMega && residency.set_bytes() < 400 * kMega);
  EQUAL(world().seen.resident_sets, 1);
  EQUAL(residency.set_limit(1000 * kMega), 300 * kMega);
  EQUAL(residency.wired(), 400 * kMega);
  EQUAL(world().seen.resident_sets, 2);
  memory.give(all[0], 100 * kMega);
  EQUAL(residency.wired(), 300 * kMega);
  residency.set_limit(150 * kMega);
  EQUAL(residency.wired(), 100 * kMega);
  EQUAL(world().seen.resident_bytes, 100 * kMega);
  residency.set_limit(0);
  EQUAL(world().seen.resident_bytes, 0);
  for (size_t i = 1; i < 4; ++i) memory.give(all[i], 100 * kMega);
}

TEST(a_queue_has_no_more_sets_than_it_may) {
  Machine machine;
  machine.memory = int64_t{1} << 30;  // sets of 64 MiB
  Rig rig(machine);
  Residency residency(*rig.host, rig.queue->handle());
  residency.set_limit(int64_t{1} << 40);
  constexpr int64_t kMega = 1 << 20;
  EQUAL(residency.set_bytes(), 64 * kMega);
  std::vector<BlockRef> blocks;
  for (int i = 0; i < 40; ++i) {
    // Blocks that pretend to fill a set each.
    void* contents = nullptr;
    Handle handle = rig.host->new_buffer(kMega, &contents);
    blocks.push_back(
        std::make_shared<Block>(*rig.host, handle, static_cast<char*>(contents), 60 * kMega));
    residency.added(*blocks.back());
  }
  EQUAL(world().seen.resident_sets, Residency::kMaxSets);
  EQUAL(residency.wired(), Residency::kMaxSets * 60 * kMega);
  for (auto& block : blocks) residency.removed(*block);
  EQUAL(residency.wired(), 0);
}

TEST(older_systems_have_no_residency_sets) {
  Machine machine;
  machine.os_major = 14;
  Rig rig(machine);
  Residency residency(*rig.host, rig.queue->handle());
  Memory memory(*rig.host);
  memory.watch(&residency);
  CHECK(!residency.supported());
  residency.set_limit(1 << 30);
  void* data = memory.take(1 << 20);
  EQUAL(residency.wired(), 0);
  memory.give(data, 1 << 20);
}
