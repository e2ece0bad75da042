// Memory, fences, events, counters and residency sets of the double.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "objects.h"

using namespace metal_double;

namespace metal_double {

NSError* error_of(NSString* domain, int64_t code, const std::string& why) {
  NSString* said = [NSString stringWithUTF8String:why.c_str()];
  NSDictionary* info = [NSDictionary dictionaryWithObject:said forKey:NSLocalizedDescriptionKey];
  return [NSError errorWithDomain:domain code:static_cast<NSInteger>(code) userInfo:info];
}

void count_object(int64_t change) {
  std::lock_guard lock(world().mutex);
  world().seen.live_objects += change;
}

namespace {

// The end of an object that command buffers may still need.
template <class Ref>
void end_of(Ref* state) {
  {
    std::lock_guard lock(world().mutex);
    world().destroyed(*state);
    --world().seen.live_objects;
  }
  delete state;
}

}  // namespace
}  // namespace metal_double

@implementation DoubleBuffer
- (id)initWithStorage:(StorageRef)storage {
  self = [super init];
  state = new StorageRef(storage);
  std::lock_guard lock(world().mutex);
  static int64_t number = 0;
  storage->label = "buffer " + std::to_string(++number);
  ++world().seen.live_objects;
  ++world().seen.live_buffers;
  world().seen.buffer_bytes += storage->bytes;
  return self;
}
- (void*)contents {
  return (*state)->data;
}
- (NSUInteger)length {
  return static_cast<NSUInteger>((*state)->bytes);
}
- (void)dealloc {
  {
    std::lock_guard lock(world().mutex);
    --world().seen.live_buffers;
    world().seen.buffer_bytes -= (*state)->bytes;
    world().order.forget(state->get());
  }
  end_of(state);
  [super dealloc];
}
@end

@implementation DoubleFence
- (id)init {
  self = [super init];
  state = new std::shared_ptr<FenceState>(std::make_shared<FenceState>());
  (*state)->label = "a fence";
  count_object(1);
  return self;
}
- (void)dealloc {
  end_of(state);
  [super dealloc];
}
@end

@implementation DoubleEvent
- (id)init {
  self = [super init];
  state = new std::shared_ptr<EventState>(std::make_shared<EventState>());
  (*state)->label = "an event";
  count_object(1);
  return self;
}
- (uint64_t)signaledValue {
  std::lock_guard lock(world().mutex);
  return (*state)->value;
}
- (void)setSignaledValue:(uint64_t)value {
  std::lock_guard lock(world().mutex);
  if (value < (*state)->value)
    world().violation("event: value set back from " + std::to_string((*state)->value) + " to " +
                      std::to_string(value));
  (*state)->value = value;
  world().changed.notify_all();
}
- (BOOL)waitUntilSignaledValue:(uint64_t)value timeoutMS:(uint64_t)milliseconds {
  std::unique_lock lock(world().mutex);
  return world().changed.wait_for(lock, std::chrono::milliseconds(milliseconds),
                                  [&] { return (*state)->value >= value; });
}
- (void)dealloc {
  end_of(state);
  [super dealloc];
}
@end

@implementation DoubleSamples
- (id)initWithCount:(NSUInteger)count {
  self = [super init];
  state = new std::shared_ptr<SamplesState>(std::make_shared<SamplesState>());
  (*state)->label = "a counter sample buffer";
  (*state)->values.assign(count, MTLCounterErrorValue);
  count_object(1);
  return self;
}
- (NSData*)resolveCounterRange:(NSRange)range {
  std::lock_guard lock(world().mutex);
  const auto& values = (*state)->values;
  if (range.location + range.length > values.size()) {
    world().violation("counters: resolved past the end");
    return nil;
  }
  return [NSData dataWithBytes:values.data() + range.location
                        length:range.length * sizeof(uint64_t)];
}
- (void)dealloc {
  end_of(state);
  [super dealloc];
}
@end

@implementation DoubleCounterSet
- (NSString*)name {
  return MTLCommonCounterSetTimestamp;
}
@end

@implementation DoublePipeline
- (id)initWithExecutable:(std::shared_ptr<Executable>)executable {
  self = [super init];
  state = new std::shared_ptr<Executable>(executable);
  executable->label = "pipeline " + executable->name;
  count_object(1);
  return self;
}
- (NSUInteger)maxTotalThreadsPerThreadgroup {
  return static_cast<NSUInteger>((*state)->max_threads);
}
- (NSUInteger)threadExecutionWidth {
  return 32;
}
- (NSUInteger)staticThreadgroupMemoryLength {
  return static_cast<NSUInteger>((*state)->static_bytes);
}
- (void)dealloc {
  end_of(state);
  [super dealloc];
}
@end

@implementation MTLResidencySetDescriptor
- (void)setInitialCapacity:(NSUInteger)capacity {
  (void)capacity;
}
@end

// Additions and removals take effect at commit, as Apple's do.
@implementation DoubleResidencySet
- (id)init {
  self = [super init];
  members = new std::map<const void*, int64_t>;
  pending = new std::map<const void*, int64_t>;
  count_object(1);
  std::lock_guard lock(world().mutex);
  ++world().seen.resident_sets;
  return self;
}
- (void)addAllocation:(id)allocation {
  DoubleBuffer* buffer = (DoubleBuffer*)allocation;
  (*pending)[buffer] = (*buffer->state)->bytes;
}
- (void)removeAllocation:(id)allocation {
  std::lock_guard lock(world().mutex);
  if (!pending->erase(allocation)) world().violation("residency: removed what was not in the set");
}
- (void)commit {
  std::lock_guard lock(world().mutex);
  for (auto [object, bytes] : *members) world().seen.resident_bytes -= bytes;
  for (auto [object, bytes] : *pending) world().seen.resident_bytes += bytes;
  *members = *pending;
}
- (void)requestResidency {
}
- (void)endResidency {
}
- (void)dealloc {
  {
    std::lock_guard lock(world().mutex);
    for (auto [object, bytes] : *members) world().seen.resident_bytes -= bytes;
    --world().seen.resident_sets;
    --world().seen.live_objects;
  }
  delete members;
  delete pending;
  [super dealloc];
}
@end
