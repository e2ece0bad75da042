// The double itself: each rule of Metal's, broken on purpose through the host's own calls, is seen.
#include <unistd.h>

#include "rig.h"

namespace {

// A command buffer and an encoder by hand, without the queue's care.
struct Raw {
  Raw() {
    world().restart({});
    host.reset(host_factory()());
    queue = host->new_queue();
    fence = host->new_fence();
    event = host->new_event();
    void* contents;
    buffer = host->new_buffer(4096, &contents);
    data = static_cast<float*>(contents);
    std::fill_n(data, 1024, 1.0f);
    Failure failure;
    library = host->new_library(source_of("scale"), failure);
    pipeline = host->new_pipeline(library, {"scale", {}, 0}, facts, failure);
    commands = host->begin_commands(queue, false);
    encoder = host->begin_encoder(commands, nullptr, nullptr, 0);
  }
  // Ends what is open, runs it, and returns what was violated; one sentence is expected.
  std::string finish() {
    if (encoder) host->end_encoder(encoder);
    if (!committed) commit();
    while (!ended) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (Handle h : {commands, buffer, pipeline, library, event, fence, queue})
      if (h) host->release(h);
    for (int i = 0; i < 1000; ++i) {
      {
        std::lock_guard lock(world().mutex);
        if (world().seen.live_objects == 0) break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    auto all = take_violations();
    EQUAL(all.size(), 1u);
    return all[0];
  }
  void commit() {
    committed = true;
    auto note = [](void* flag, const Outcome& outcome) noexcept {
      static_cast<Raw*>(flag)->outcome = outcome;
      static_cast<Raw*>(flag)->ended = true;
    };
    host->commit(commands, note, this);
  }
  void end() {
    host->end_encoder(encoder);
    encoder = nullptr;
  }
  Dispatch dispatch() {
    bound = {{buffer, 0}, {buffer, 2048}};
    Dispatch d{pipeline, bound};
    d.block = &constants;
    d.block_bytes = sizeof constants;
    d.threads[0] = 64;
    return d;
  }

  std::unique_ptr<Host> host;
  PipelineFacts facts;
  Constants constants{256, 2};
  std::vector<BoundBuffer> bound;
  Handle queue, fence, event, buffer, library, pipeline, commands, encoder;
  float* data;
  Outcome outcome;
  std::atomic<bool> ended = false;
  bool committed = false;
};

}  // namespace

TEST(rule_one_encoder_at_a_time) {
  Raw raw;
  CHECK(!raw.host->begin_encoder(raw.commands, nullptr, nullptr, 0));
  CONTAINS(raw.finish(), "a second encoder on one command buffer");
}

TEST(rule_no_commit_with_an_open_encoder) {
  Raw raw;
  raw.commit();
  auto all = take_violations();
  EQUAL(all.size(), 2u);
  CONTAINS(all[0], "a handler added with an open encoder");
  CONTAINS(all[1], "commit with an open encoder");
  raw.host->release(raw.encoder);
  raw.encoder = nullptr;
  CONTAINS(raw.finish(), "an encoder released before endEncoding");
}

TEST(rule_no_second_commit) {
  Raw raw;
  raw.end();
  hold(true);
  raw.commit();
  raw.commit();
  auto all = take_violations();
  EQUAL(all.size(), 2u);
  CONTAINS(all[0], "a handler added after commit");
  CONTAINS(all[1], "commit twice");
  hold(false);
  raw.host->stop_capture();  // finish() expects one more
  raw.finish();
}

TEST(rule_no_encoder_after_commit) {
  Raw raw;
  raw.end();
  raw.commit();
  CHECK(!raw.host->begin_encoder(raw.commands, nullptr, nullptr, 0));
  CONTAINS(raw.finish(), "an encoder on a committed command buffer");
}

TEST(rule_an_ended_encoder_takes_no_calls) {
  Raw raw;
  Handle ended = metal_double::retained(raw.encoder);
  raw.end();
  metal_double::use_after_end(ended, raw.pipeline, raw.buffer, raw.fence);
  raw.host->release(ended);
  auto all = take_violations();
  const std::vector<std::string> calls = {"setComputePipelineState",
                                          "setBuffer",
                                          "setBytes",
                                          "setThreadgroupMemoryLength",
                                          "dispatch",
                                          "dispatch",
                                          "memoryBarrier",
                                          "waitForFence",
                                          "updateFence",
                                          "endEncoding"};
  EQUAL(all.size(), calls.size());
  for (size_t i = 0; i < calls.size(); ++i) EQUAL(all[i], calls[i] + " after endEncoding");
  raw.host->stop_capture();  // finish() expects one more
  raw.finish();
}

TEST(rule_no_event_with_an_open_encoder) {
  Raw raw;
  raw.host->signal_event(raw.commands, raw.event, 1);
  CONTAINS(raw.finish(), "an event on a command buffer with an open encoder");
}

TEST(rule_events_go_up) {
  Raw raw;
  raw.end();
  raw.host->signal_event(raw.commands, raw.event, 5);
  raw.host->signal_event(raw.commands, raw.event, 4);
  CONTAINS(raw.finish(), "event: 4 signalled after 5");
}

TEST(rule_no_wait_for_a_fence_one_has_updated) {
  Raw raw;
  raw.host->update_fence(raw.encoder, raw.fence);
  raw.host->wait_fence(raw.encoder, raw.fence);
  CONTAINS(raw.finish(), "waits for a fence that it has updated");
}

TEST(rule_inline_bytes_are_short) {
  Raw raw;
  Dispatch d = raw.dispatch();
  std::vector<char> block(4096);
  d.block = block.data();
  d.block_bytes = 4096;
  raw.host->encode(raw.encoder, d);
  auto all = take_violations();
  EQUAL(all.size(), 2u);
  CONTAINS(all[0], "setBytes of 4096 bytes");
  CONTAINS(all[1], "buffer 2 is not bound");
  raw.host->update_fence(raw.encoder, raw.fence);
  raw.host->wait_fence(raw.encoder, raw.fence);
  raw.finish();
}

TEST(rule_inline_bytes_are_not_null) {
  Raw raw;
  Dispatch d = raw.dispatch();
  d.block = nullptr;
  raw.host->encode(raw.encoder, d);
  auto all = take_violations();
  EQUAL(all.size(), 2u);
  EQUAL(all[0], "setBytes of " + std::to_string(sizeof(Constants)) + " bytes at a null pointer");
  CONTAINS(all[1], "buffer 2 is not bound");
  raw.host->stop_capture();  // finish() expects one more
  raw.finish();
}

TEST(rule_threadgroup_lengths_are_multiples_of_16) {
  Raw raw;
  Dispatch d = raw.dispatch();
  d.threadgroup_bytes = 100;
  raw.host->encode(raw.encoder, d);
  CONTAINS(raw.finish(), "threadgroup memory of 100 bytes, not a multiple of 16");
}

TEST(rule_threadgroup_memory_is_limited) {
  Raw raw;
  Dispatch d = raw.dispatch();
  d.threadgroup_bytes = 32784;
  raw.host->encode(raw.encoder, d);
  CONTAINS(raw.finish(), "dispatch of scale: 32784 bytes of threadgroup memory");
}

TEST(rule_static_and_dynamic_threadgroup_memory_count_together) {
  Raw raw;
  metal_double::NativeKernel kernel;
  kernel.static_bytes = 20000;
  kernel.run = [](const metal_double::Native&) {};
  metal_double::register_kernel("half_full", kernel);
  Failure failure;
  Handle library = raw.host->new_library(source_of("half_full"), failure);
  PipelineFacts facts;
  Handle pipeline = raw.host->new_pipeline(library, {"half_full", {}, 0}, facts, failure);
  Dispatch d = raw.dispatch();
  d.pipeline = pipeline;
  d.threadgroup_bytes = 12768;
  raw.host->encode(raw.encoder, d);
  CHECK(take_violations().empty());
  d.threadgroup_bytes = 12784;
  raw.host->encode(raw.encoder, d);
  raw.end();
  raw.commit();
  while (!raw.ended) std::this_thread::yield();
  raw.host->release(pipeline);
  raw.host->release(library);
  CONTAINS(raw.finish(), "dispatch of half_full: 32784 bytes of threadgroup memory");
}

TEST(rule_groups_are_no_larger_than_the_pipeline) {
  Raw raw;
  Dispatch d = raw.dispatch();
  d.threads[1] = 32;
  raw.host->encode(raw.encoder, d);
  CONTAINS(raw.finish(), "2048 threads in a group, at most 1024");
}

TEST(rule_grids_are_not_empty) {
  Raw raw;
  Dispatch d = raw.dispatch();
  d.groups[2] = 0;
  raw.host->encode(raw.encoder, d);
  CONTAINS(raw.finish(), "an empty grid");
}

TEST(rule_a_pipeline_comes_first) {
  Raw raw;
  Dispatch d = raw.dispatch();
  d.pipeline = nullptr;
  raw.host->encode(raw.encoder, d);
  auto all = take_violations();
  EQUAL(all.size(), 2u);
  CONTAINS(all[0], "setComputePipelineState: nil");
  CONTAINS(all[1], "dispatch without a pipeline");
  raw.host->stop_capture();  // finish() expects one more
  raw.finish();
}

TEST(rule_arguments_are_31) {
  Raw raw;
  Dispatch d = raw.dispatch();
  std::fill_n(raw.data, 1024, 0.0f);  // what stands where the constants belong: nothing to do
  raw.bound.resize(31, {raw.buffer, 0});
  d.buffers = raw.bound;
  raw.host->encode(raw.encoder, d);
  auto all = take_violations();
  CHECK(!all.empty());
  CONTAINS(all[0], "setBytes at index 31");
  raw.host->stop_capture();  // finish() expects one more
  raw.finish();
}

TEST(rule_every_argument_is_bound) {
  Raw raw;
  Dispatch d = raw.dispatch();
  raw.bound.pop_back();
  d.buffers = raw.bound;
  raw.host->encode(raw.encoder, d);
  CONTAINS(raw.finish(), "buffer 2 is not bound");
}

TEST(rule_offsets_lie_inside) {
  Raw raw;
  Dispatch d = raw.dispatch();
  raw.bound[0].offset = 4096;
  raw.host->encode(raw.encoder, d);
  auto all = take_violations();
  EQUAL(all.size(), 2u);
  CONTAINS(all[0], "setBuffer: offset 4096 of 4096 bytes");
  raw.bound[0].offset = 2;
  raw.host->encode(raw.encoder, d);
  CONTAINS(raw.finish(), "buffer 0 has offset 2, not a multiple of 4");
}

TEST(rule_kernels_stay_inside) {
  Raw raw;
  raw.constants.count = 600;
  raw.host->encode(raw.encoder, raw.dispatch());
  CONTAINS(raw.finish(), "argument 1 is read or written out of bounds");
  EQUAL(raw.outcome.failure.code, 3);
}

TEST(rule_objects_outlive_their_command_buffer) {
  Raw raw;
  hold(true);
  raw.host->encode(raw.encoder, raw.dispatch());
  raw.end();
  raw.commit();
  raw.host->release(raw.buffer);
  raw.buffer = nullptr;
  hold(false);
  CONTAINS(raw.finish(), "destroyed while 1 command buffers need it");
  EQUAL(raw.outcome.failure.code, kErrorInvalidResource);
}

TEST(rule_objects_are_of_one_device) {
  Raw raw;
  std::unique_ptr<Host> other(host_factory()());
  void* contents;
  Handle strange = other->new_buffer(4096, &contents);
  Dispatch d = raw.dispatch();
  raw.bound[0] = {strange, 0};
  raw.host->encode(raw.encoder, d);
  raw.end();
  raw.commit();
  while (!raw.ended) std::this_thread::yield();
  other->release(strange);
  other.reset();
  CONTAINS(raw.finish(), "is of another device");
}

TEST(rule_encoders_are_ended) {
  Raw raw;
  raw.end();
  Handle commands = raw.host->begin_commands(raw.queue, false);
  raw.host->release(raw.host->begin_encoder(commands, nullptr, nullptr, 0));
  raw.host->release(commands);
  CONTAINS(raw.finish(), "an encoder released before endEncoding");
}

TEST(rule_adopted_memory_is_of_whole_pages) {
  Raw raw;
  CHECK(!raw.host->adopt_pages(raw.data + 1, getpagesize()));
  CONTAINS(raw.finish(), "bytesNoCopy: pointer or length is not of whole pages");
}

TEST(memory_is_shared_and_untracked) {
  Raw raw;
  for (uint64_t options : {0x000u, 0x010u, 0x120u, 0x200u, 0x101u}) {
    metal_double::ask_for_memory(options);
    auto all = take_violations();
    EQUAL(all.size(), 2u);
    const std::string said = ": options " + std::to_string(options) + ", not shared and untracked";
    EQUAL(all[0], "buffer" + said);
    EQUAL(all[1], "bytesNoCopy" + said);
  }
  metal_double::ask_for_memory(0x100);
  CHECK(take_violations().empty());
  raw.host->stop_capture();  // finish() expects one more
  CONTAINS(raw.finish(), "capture: stopped without a start");
}

TEST(rule_buffers_have_a_length) {
  Raw raw;
  void* contents;
  CHECK(!raw.host->new_buffer(0, &contents));
  CONTAINS(raw.finish(), "buffer: length 0");
}

TEST(rule_buffers_are_no_longer_than_the_device_allows) {
  Raw raw;
  void* contents;
  const int64_t most = world().machine.buffer_limit;
  CHECK(!raw.host->new_buffer(most + 1, &contents));
  CONTAINS(raw.finish(), "buffer: length " + std::to_string(most + 1));
}

TEST(rule_libraries_have_no_fast_math) {
  for (int os_major : {14, 15}) {
    Raw raw;
    world().machine.os_major = os_major;
    metal_double::compile_with_fast_math(source_of("scale"));
    CONTAINS(raw.finish(), "library: compiled with fast math");
  }
}

TEST(rule_samples_lie_in_their_buffer) {
  Raw raw;
  raw.end();
  Failure failure;
  Handle samples = raw.host->new_samples(4, failure);
  raw.encoder = raw.host->begin_encoder(raw.commands, "late", samples, 4);
  raw.end();
  (void)take_violations();
  uint64_t out[6];
  CHECK(!raw.host->read_samples(samples, out));
  Handle commands = raw.commands;
  raw.commands = raw.host->begin_commands(raw.queue, false);
  raw.host->release(commands);
  raw.host->release(samples);
  CONTAINS(raw.finish(), "counters: resolved past the end");
}

TEST(rule_captures_are_started_before_they_stop) {
  Raw raw;
  raw.host->stop_capture();
  CONTAINS(raw.finish(), "capture: stopped without a start");
}
