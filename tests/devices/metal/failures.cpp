// What goes wrong: on the GPU, in the compiler, for want of memory. Nothing hangs, nothing aborts,
// and the device works on.
#include "rig.h"

namespace {

constexpr int64_t kCount = 64;

Launch scaling(const Rig& rig, std::span<const Binding> buffers, const Constants& constants) {
  Launch launch;
  launch.pipeline = rig.pipelines->get(source_of("scale"), "scale");
  launch.buffers = buffers;
  launch.block = {reinterpret_cast<const unsigned char*>(&constants), sizeof constants};
  launch.threads = {64, 1, 1};
  return launch;
}

}  // namespace

TEST(a_failed_command_buffer_is_thrown_where_it_is_waited_for) {
  for (int os : {13, 15}) {
    for (int64_t code : {1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 14}) {
      Machine machine;
      machine.os_major = os;
      Rig rig(machine);
      float *a = rig.array(kCount, 1), *b = rig.array(kCount);
      inject(Point::run, {0, 1, code});
      const uint64_t ticket = rig.scale(b, a, 2, kCount);
      std::string said = THROWN(DeviceError, rig.queue->wait(ticket));
      CONTAINS(said, "metal: a command buffer of 1 kernels failed: injected");
      CONTAINS(said, "MTLCommandBufferErrorDomain " + std::to_string(code));
      EQUAL(said.find("display") != std::string::npos, code == 2 || code == 14);
      // The failure stays with its ticket; what comes after works.
      EQUAL(THROWN(DeviceError, rig.queue->wait(ticket)), said);
      rig.queue->wait(rig.scale(b, a, 3, kCount));
      EQUAL(b[0], 3.0f);
    }
  }
}

TEST(out_of_memory_on_the_gpu_says_sizes) {
  Rig rig;
  float *a = rig.array(1 << 20, 1), *b = rig.array(1 << 20);
  inject(Point::run, {0, 1, 8});
  rig.scale(b, a, 2, 1 << 20);
  bool thrown = false;
  try {
    rig.queue->synchronize();
  } catch (const OutOfMemory& e) {
    thrown = true;
    EQUAL(e.bytes_asked, int64_t{8} << 20);
    CHECK(e.bytes_free > 0);
    CONTAINS(e.what(), "it binds 8.4 MB; 8.4 MB in use of 6.4 GB");
  }
  CHECK(thrown);
  rig.scale(b, a, 2, 1 << 20);
  rig.queue->synchronize();
  EQUAL(b[(1 << 20) - 1], 2.0f);
}

TEST(a_failure_is_that_of_its_own_ticket) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  hold(true);
  inject(Point::run, {1, 1, 3});
  const uint64_t first = rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  const uint64_t second = rig.scale(a, b, 2, kCount);
  rig.queue->commit();
  const uint64_t third = rig.scale(b, a, 3, kCount);
  hold(false);
  rig.queue->wait(first);
  rig.queue->wait(third);
  EQUAL(b[0], 3.0f);
  std::string said = THROWN(DeviceError, rig.queue->wait(second));
  CHECK(rig.queue->failure_of(first, third) == rig.queue->failure_of(second, second));
  CHECK(rig.queue->failure_of(first, second) != nullptr);
  CHECK(rig.queue->failure_of(first, first) == nullptr);
  CHECK(rig.queue->failure_of(third, third + 5) == nullptr);
  EQUAL(THROWN(DeviceError, rig.queue->wait(second)), said);
  rig.queue->synchronize();  // whoever asked for it has been told
}

TEST(waiting_for_everything_tells_a_failure_once) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  inject(Point::run, {0, 2, 9});
  rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  rig.scale(b, a, 2, kCount);
  CONTAINS(THROWN(DeviceError, rig.queue->synchronize()), "MTLCommandBufferErrorDomain 9");
  rig.queue->synchronize();
}

TEST(the_second_failure_names_the_kernel) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  inject(Point::run, {0, 2, 3});
  rig.scale(b, a, 2, kCount);
  std::string said = THROWN(DeviceError, rig.queue->synchronize());
  CHECK(said.find("in scale") == std::string::npos);
  rig.scale(b, a, 2, kCount);
  said = THROWN(DeviceError, rig.queue->synchronize());
  CONTAINS(said, "in scale");
}

TEST(a_failure_wakes_another_queue) {
  Rig rig;
  Queue other(*rig.host, *rig.memory, chip_of(rig.host->facts()));
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  hold(true);
  inject(Point::run, {0, 1, 3});
  const uint64_t ticket = rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  hold(false);
  while (!rig.queue->done(ticket)) std::this_thread::yield();
  other.wait_for(*rig.queue, ticket);
  const Binding buffers[] = {rig.bind(a, kCount, false), rig.bind(a, kCount, true)};
  Constants constants{kCount, 2};
  other.launch(scaling(rig, buffers, constants));
  other.synchronize();  // hangs if nobody signals the event of the failed command buffer
  THROWN(DeviceError, rig.queue->wait(ticket));
}

TEST(a_device_that_does_not_answer_is_given_up) {
  Rig rig({}, {.patience_ms = 60});
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  inject(Point::run, {0, 1, metal_double::kNever});
  rig.scale(b, a, 2, kCount);
  std::string said = THROWN(DeviceError, rig.queue->synchronize());
  CONTAINS(said, "the GPU has not answered");
  hold(false);
  rig.scale(b, a, 3, kCount);
  rig.queue->synchronize();
  EQUAL(b[0], 3.0f);
  // What the lost device might have touched was left to it on purpose.
  std::lock_guard lock(world().mutex);
  CHECK(world().seen.live_objects > 0);
  std::_Exit(world().violations.empty() ? 0 : 1);
}

TEST(completions_in_random_order_are_told_apart) {
  Machine machine;
  machine.completion_delay_us = 3000;
  Rig rig(machine);
  Queue other(*rig.host, *rig.memory, chip_of(rig.host->facts()));
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  Constants constants{kCount, 1};
  for (int i = 0; i < 30; ++i) {
    const bool fails = i % 5 == 3;
    hold(true);
    rig.scale(b, a, static_cast<float>(i), kCount);
    rig.queue->commit();
    const Binding buffers[] = {rig.bind(a, kCount, false), rig.bind(c, kCount, true)};
    const uint64_t ticket = other.launch(scaling(rig, buffers, constants));
    other.commit();
    hold(false);
    other.wait(ticket);
    rig.queue->synchronize();
    EQUAL(b[0], static_cast<float>(i));
    if (!fails) continue;
    inject(Point::run, {0, 1, 3});
    rig.scale(b, a, 7, kCount);
    THROWN(DeviceError, rig.queue->synchronize());
  }
}

TEST(the_compilers_words_come_back) {
  Rig rig;
  std::string said = THROWN(DeviceError, rig.pipelines->get("kernel void nobody(...)", "nobody"));
  CONTAINS(said, "metal: kernel nobody: does not compile: soft_metal: ");
  CONTAINS(said, "MTLLibraryErrorDomain 3");
  said = THROWN(DeviceError, rig.pipelines->get(source_of("scale"), "other"));
  CONTAINS(said, "kernel other: no pipeline: the library has no function of this name");
  inject(Point::pipeline, {0, 1});
  said = THROWN(DeviceError, rig.pipelines->get(source_of("scale"), "scale"));
  CONTAINS(said, "kernel scale: no pipeline: Compiler encountered an internal error (AGXMetal 3)");
  inject(Point::library, {0, 1});
  THROWN(DeviceError, rig.pipelines->get(source_of("add"), "add"));
  CHECK(rig.pipelines->get(source_of("add"), "add") != nullptr);
  said = THROWN(DeviceError, rig.pipelines->get(source_of("large_group"), "large_group"));
  CONTAINS(said, "Threadgroup memory size (40000) exceeds the maximum");
}

TEST(pipelines_are_compiled_once) {
  Rig rig;
  auto one = rig.pipelines->get(source_of("scale"), "scale");
  CHECK(one == rig.pipelines->get(source_of("scale"), "scale"));
  EQUAL(rig.pipelines->pipelines_made(), 1);
  // Another size of group is another pipeline of the same library.
  auto two = rig.pipelines->get(source_of("scale"), "scale", 512);
  CHECK(one != two);
  EQUAL(two->facts.max_threads, 512);
  EQUAL(rig.pipelines->libraries_made(), 1);
  EQUAL(rig.pipelines->pipelines_made(), 2);
}

TEST(function_constants_make_pipelines_of_their_own) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  const Binding buffers[] = {rig.bind(a, kCount, false), rig.bind(b, kCount, true)};
  Constants constants{kCount};
  for (float k : {2.0f, 5.0f}) {
    uint32_t bits = std::bit_cast<uint32_t>(k);
    Launch launch = scaling(rig, buffers, constants);
    launch.pipeline = rig.pipelines->get(source_of("by_constant"), "by_constant", 0,
                                         {{7, ConstantType::float32, bits}});
    rig.queue->launch(launch);
    rig.queue->synchronize();
    EQUAL(b[0], k);
  }
  std::string said =
      THROWN(DeviceError, rig.pipelines->get(source_of("by_constant"), "by_constant"));
  CONTAINS(said, "function constant 7 has no value");
}

TEST(a_pipeline_of_fewer_threads_is_refused_before_the_launch) {
  Machine machine;
  machine.pipeline_threads = 448;
  Rig rig(machine);
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  const Binding buffers[] = {rig.bind(a, kCount, false), rig.bind(b, kCount, true)};
  Constants constants{kCount, 2};
  Launch launch = scaling(rig, buffers, constants);
  launch.threads = {512, 1, 1};
  std::string said = THROWN(DeviceError, rig.queue->launch(launch));
  CONTAINS(said, "kernel scale: 512 threads in a group, the pipeline takes 1 to 448");
  // Asked for when the pipeline is made, the compiler spends fewer registers.
  launch.pipeline = rig.pipelines->get(source_of("scale"), "scale", 512);
  rig.queue->launch(launch);
  rig.queue->synchronize();
  EQUAL(b[0], 2.0f);
}

TEST(launches_that_cannot_be_are_refused) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  Constants constants{kCount, 2};
  std::vector<Binding> buffers{rig.bind(a, kCount, false), rig.bind(b, kCount, true)};
  Launch launch = scaling(rig, buffers, constants);
  launch.threadgroup_bytes = 40000;
  CONTAINS(THROWN(DeviceError, rig.queue->launch(launch)),
           "40000 bytes of threadgroup memory, there are 32768");
  std::vector<Binding> many(31, buffers[0]);
  launch = scaling(rig, many, constants);
  CONTAINS(THROWN(DeviceError, rig.queue->launch(launch)), "32 buffers, Metal takes 31");
  std::vector<Binding> strange{buffers[0], {}};
  launch = scaling(rig, strange, constants);
  CONTAINS(THROWN(DeviceError, rig.queue->launch(launch)), "buffer 1 is not this device's memory");
  launch = scaling(rig, buffers, constants);
  launch.groups = {int64_t{1} << 40, 1, 1};
  CONTAINS(THROWN(DeviceError, rig.queue->launch(launch)), "1099511627776 threadgroups");
  EQUAL(rig.queue->counts().launches, 0);
}

TEST(without_a_gpu_there_is_no_host) {
  Machine machine;
  machine.present = false;
  world().restart(machine);
  CHECK(host_factory()() == nullptr);
}

TEST(an_empty_list_of_devices_is_not_the_end) {
  Machine machine;
  machine.listed = false;
  Rig rig(machine);
  EQUAL(rig.host->facts().name, "Apple M2 Max");
}

TEST(the_system_may_refuse_every_object) {
  Machine machine;
  world().restart(machine);
  {
    std::unique_ptr<Host> host(host_factory()());
    Memory memory(*host);
    inject(Point::queue, {0, 1});
    THROWN(DeviceError, Queue(*host, memory, chip_of(host->facts())));
  }
  world().restart(machine);
  for (Point point : {Point::commands, Point::encoder, Point::fence}) {
    Rig rig;
    float *a = rig.array(kCount, 1), *b = rig.array(kCount);
    inject(point, {0, 1});
    CONTAINS(THROWN(DeviceError, rig.scale(b, a, 2, kCount)), "the system gave no");
    rig.scale(b, a, 2, kCount);
    rig.queue->synchronize();
    EQUAL(b[0], 2.0f);
  }
}
