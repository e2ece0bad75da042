// Command queues, command buffers and encoders of the double, with the rules of their order of
// calls.
#include <algorithm>

#include "objects.h"

using namespace metal_double;

namespace {
void violation(const std::string& what) {
  std::lock_guard lock(world().mutex);
  world().violation(what);
}
}  // namespace

@interface DoubleEncoderInfo : NSObject <MTLCommandBufferEncoderInfo> {
 @public
  std::string* label;
}
@end
@implementation DoubleEncoderInfo
- (NSString*)label {
  return [NSString stringWithUTF8String:label->c_str()];
}
- (MTLCommandEncoderErrorState)errorState {
  return MTLCommandEncoderErrorStateFaulted;
}
- (void)dealloc {
  delete label;
  [super dealloc];
}
@end

@implementation DoubleQueue
- (id)init {
  self = [super init];
  state = new std::shared_ptr<QueueState>(std::make_shared<QueueState>());
  sets = [[NSMutableSet alloc] init];
  (*state)->start();
  count_object(1);
  return self;
}
- (id<MTLCommandBuffer>)commandBufferWithDescriptor:(MTLCommandBufferDescriptor*)descriptor {
  {
    std::lock_guard lock(world().mutex);
    if (world().fails(Point::commands)) return nil;
  }
  return [[[DoubleCommands alloc] initWithQueue:self descriptor:descriptor] autorelease];
}
- (void)addResidencySet:(id)set {
  constexpr NSUInteger kMost = 32;
  [sets addObject:set];
  if ([sets count] > kMost) violation("residency: more than 32 sets on a queue");
}
- (void)removeResidencySet:(id)set {
  if (![sets containsObject:set]) violation("residency: removed a set the queue has not");
  [sets removeObject:set];
}
- (void)dealloc {
  {
    std::lock_guard lock(world().mutex);
    (*state)->close();
    --world().seen.live_objects;
  }
  delete state;
  [sets release];
  [super dealloc];
}
@end

@implementation DoubleCommands
- (id)initWithQueue:(DoubleQueue*)owner descriptor:(MTLCommandBufferDescriptor*)descriptor {
  self = [super init];
  state = new CommandsRef(std::make_shared<CommandsState>());
  (*state)->retained = descriptor->retained;
  (*state)->device = owner->device;
  detailed = (descriptor->options & MTLCommandBufferErrorOptionEncoderExecutionStatus) != 0;
  queue = [owner retain];
  handlers = [[NSMutableArray alloc] init];
  std::lock_guard lock(world().mutex);
  ++world().seen.live_objects;
  return self;
}
- (id)openEncoder:(MTLDispatchType)type pass:(MTLComputePassDescriptor*)pass {
  {
    std::lock_guard lock(world().mutex);
    if (open) world().violation("a second encoder on one command buffer");
    if ((*state)->status != Status::encoding)
      world().violation("an encoder on a committed command buffer");
    if (open || (*state)->status != Status::encoding || world().fails(Point::encoder)) return nil;
  }
  DoubleEncoder* made = [[DoubleEncoder alloc] initWithCommands:self type:type pass:pass];
  open = made;
  return [made autorelease];
}
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type {
  return [self openEncoder:type pass:nil];
}
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDescriptor:
    (MTLComputePassDescriptor*)pass {
  return [self openEncoder:pass->type pass:pass];
}
- (void)addEvent:(id)event value:(uint64_t)value kind:(Item::Kind)kind {
  std::lock_guard lock(world().mutex);
  if (open) world().violation("an event on a command buffer with an open encoder");
  if ((*state)->status != Status::encoding)
    world().violation("an event on a committed command buffer");
  std::shared_ptr<EventState> held = *((DoubleEvent*)event)->state;
  (*state)->items.push_back({kind, nullptr, held, value});
  need(**state, held);
}
- (void)encodeWaitForEvent:(id<MTLEvent>)event value:(uint64_t)value {
  [self addEvent:event value:value kind:Item::Kind::wait];
}
- (void)encodeSignalEvent:(id<MTLEvent>)event value:(uint64_t)value {
  [self addEvent:event value:value kind:Item::Kind::signal];
}
- (void)addCompletedHandler:(MTLCommandBufferHandler)handler {
  if ((*state)->status != Status::encoding) violation("a handler added after commit");
  if (open) violation("a handler added with an open encoder");
  auto copy = Block_copy(handler);
  [handlers addObject:[NSValue valueWithPointer:reinterpret_cast<const void*>(copy)]];
}
- (void)commit {
  std::lock_guard lock(world().mutex);
  if (open) world().violation("commit with an open encoder");
  if ((*state)->status != Status::encoding) {
    world().violation("commit twice");
    return;
  }
  (*state)->status = Status::committed;
  ++world().seen.command_buffers;
  if (world().capturing) ++world().seen.traces;
  [self retain];
  (*state)->ended = [self] {
    @autoreleasepool {
      for (NSValue* value in handlers) {
        auto handler = reinterpret_cast<MTLCommandBufferHandler>([value pointerValue]);
        handler(self);
        Block_release(handler);
      }
      [handlers removeAllObjects];
      [self release];
    }
  };
  (*queue->state)->commit(*state);
}
- (MTLCommandBufferStatus)status {
  std::lock_guard lock(world().mutex);
  if ((*state)->status == Status::completed) world().order.seen((*state)->stretches);
  return static_cast<MTLCommandBufferStatus>((*state)->status);
}
- (NSError*)error {
  std::lock_guard lock(world().mutex);
  if (!(*state)->error) return nil;
  NSMutableDictionary* info = [NSMutableDictionary dictionary];
  [info setObject:[NSString stringWithUTF8String:(*state)->reason.c_str()]
           forKey:NSLocalizedDescriptionKey];
  if (detailed && (*state)->faulted) {
    DoubleEncoderInfo* about = [[[DoubleEncoderInfo alloc] init] autorelease];
    about->label = new std::string((*state)->faulted->label);
    [info setObject:[NSArray arrayWithObject:about] forKey:MTLCommandBufferEncoderInfoErrorKey];
  }
  return [NSError errorWithDomain:MTLCommandBufferErrorDomain
                             code:static_cast<NSInteger>((*state)->error)
                         userInfo:info];
}
- (double)GPUStartTime {
  return (*state)->start;
}
- (double)GPUEndTime {
  return (*state)->end;
}
- (void)dealloc {
  {
    std::lock_guard lock(world().mutex);
    // Never committed: it needs nothing any more.
    if ((*state)->status == Status::encoding)
      for (const TrackedRef& object : (*state)->needs) --object->users;
    --world().seen.live_objects;
  }
  delete state;
  [handlers release];
  [queue release];
  [super dealloc];
}
@end

@implementation DoubleEncoder
- (id)initWithCommands:(DoubleCommands*)owner
                  type:(MTLDispatchType)type
                  pass:(MTLComputePassDescriptor*)pass {
  self = [super init];
  commands = [owner retain];
  state = new std::shared_ptr<EncoderState>(std::make_shared<EncoderState>());
  pipeline = new std::shared_ptr<Executable>;
  call = new Invocation;
  updated = new std::set<const void*>;
  std::lock_guard lock(world().mutex);
  (*state)->concurrent = type == MTLDispatchTypeConcurrent;
  (*state)->birth = world().order.epoch();
  if (pass && pass->attachments->first->samples) {
    auto* attachment = pass->attachments->first;
    (*state)->samples = *((DoubleSamples*)attachment->samples)->state;
    (*state)->first = static_cast<int64_t>(attachment->start);
    (*state)->last = static_cast<int64_t>(attachment->end);
    const auto room = static_cast<int64_t>((*state)->samples->values.size());
    if (std::max((*state)->first, (*state)->last) >= room)
      world().violation("counters: a sample index out of range");
    need(**commands->state, (*state)->samples);
  }
  (*commands->state)->items.push_back({Item::Kind::encoder, *state, nullptr, 0});
  ++world().seen.live_objects;
  ++world().seen.encoders;
  return self;
}
- (bool)may:(const char*)what {
  if (!ended) return true;
  world().violation(std::string(what) + " after endEncoding");
  return false;
}
- (void)setLabel:(NSString*)label {
  (*state)->label = text(label);
}
- (void)setComputePipelineState:(id<MTLComputePipelineState>)object {
  std::lock_guard lock(world().mutex);
  if (![self may:"setComputePipelineState"]) return;
  if (!object) return world().violation("setComputePipelineState: nil");
  *pipeline = *((DoublePipeline*)object)->state;
  need(**commands->state, *pipeline);
}
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index {
  std::lock_guard lock(world().mutex);
  if (![self may:"setBuffer"]) return;
  if (index >= kArguments) return world().violation("setBuffer at index " + std::to_string(index));
  Bound& bound = call->buffers[index];
  bound = {};
  if (!buffer) return;
  bound.storage = *((DoubleBuffer*)buffer)->state;
  bound.offset = static_cast<int64_t>(offset);
  if (bound.offset >= bound.storage->bytes)
    world().violation("setBuffer: offset " + std::to_string(offset) + " of " +
                      std::to_string(bound.storage->bytes) + " bytes");
  need(**commands->state, bound.storage);
}
- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index {
  constexpr NSUInteger kMost = 4095;
  std::lock_guard lock(world().mutex);
  if (![self may:"setBytes"]) return;
  if (!bytes || length < 1 || length > kMost)
    return world().violation("setBytes of " + std::to_string(length) + " bytes" +
                             (bytes ? "" : " at a null pointer"));
  if (index >= kArguments) return world().violation("setBytes at index " + std::to_string(index));
  const auto* first = static_cast<const unsigned char*>(bytes);
  Bound& bound = call->buffers[index];
  bound = {};
  bound.inlined = true;
  bound.bytes.assign(first, first + length);
}
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index {
  std::lock_guard lock(world().mutex);
  if (![self may:"setThreadgroupMemoryLength"]) return;
  if (length % 16)
    world().violation("threadgroup memory of " + std::to_string(length) +
                      " bytes, not a multiple of 16");
  if (index < kArguments) call->threadgroup_bytes[index] = static_cast<int64_t>(length);
}
static std::array<int64_t, 3> triple(MTLSize size) {
  return {static_cast<int64_t>(size.width), static_cast<int64_t>(size.height),
          static_cast<int64_t>(size.depth)};
}
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads {
  std::lock_guard lock(world().mutex);
  if (![self may:"dispatch"]) return;
  call->grid = {};
  call->groups = triple(groups);
  call->threads = triple(threads);
  [self dispatch];
}
- (void)dispatchThreads:(MTLSize)grid threadsPerThreadgroup:(MTLSize)threads {
  std::lock_guard lock(world().mutex);
  if (![self may:"dispatch"]) return;
  call->grid = triple(grid);
  call->threads = triple(threads);
  for (size_t d = 0; d < 3; ++d)
    call->groups[d] =
        (call->grid[d] + call->threads[d] - 1) / std::max<int64_t>(call->threads[d], 1);
  [self dispatch];
}
- (void)dispatch {
  // A refused dispatch does nothing, as without the debug layer.
  if (std::string why = refusal(pipeline->get(), *call); !why.empty())
    return world().violation(why);
  (*state)->commands.push_back({Command::Kind::dispatch, {*pipeline, *call}, nullptr});
}
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope {
  std::lock_guard lock(world().mutex);
  if (![self may:"memoryBarrier"]) return;
  if (scope != MTLBarrierScopeBuffers) world().violation("a barrier that is not of buffers");
  (*state)->commands.push_back({Command::Kind::barrier, {}, nullptr});
  ++world().seen.barriers;
}
- (void)waitForFence:(id<MTLFence>)fence {
  std::lock_guard lock(world().mutex);
  if (![self may:"waitForFence"]) return;
  std::shared_ptr<FenceState> held = *((DoubleFence*)fence)->state;
  if (updated->contains(held.get()))
    world().violation("an encoder waits for a fence that it has updated");
  (*state)->commands.push_back({Command::Kind::wait, {}, held});
  need(**commands->state, held);
  ++world().seen.fence_waits;
}
- (void)updateFence:(id<MTLFence>)fence {
  std::lock_guard lock(world().mutex);
  if (![self may:"updateFence"]) return;
  std::shared_ptr<FenceState> held = *((DoubleFence*)fence)->state;
  updated->insert(held.get());
  (*state)->commands.push_back({Command::Kind::update, {}, held});
  need(**commands->state, held);
}
- (void)endEncoding {
  std::lock_guard lock(world().mutex);
  if (![self may:"endEncoding"]) return;
  ended = YES;
  commands->open = nil;
}
- (void)dealloc {
  {
    std::lock_guard lock(world().mutex);
    if (!ended) world().violation("an encoder released before endEncoding");
    --world().seen.live_objects;
  }
  delete state;
  delete pipeline;
  delete call;
  delete updated;
  [commands release];
  [super dealloc];
}
@end

void* metal_double::retained(void* object) { return [(id)object retain]; }

void metal_double::use_after_end(void* encoder, void* pipeline, void* buffer, void* fence) {
  @autoreleasepool {
    id<MTLComputeCommandEncoder> ended = (id)encoder;
    const char byte = 0;
    const MTLSize one = MTLSizeMake(1, 1, 1);
    [ended setComputePipelineState:(id)pipeline];
    [ended setBuffer:(id)buffer offset:0 atIndex:0];
    [ended setBytes:&byte length:1 atIndex:1];
    [ended setThreadgroupMemoryLength:16 atIndex:0];
    [ended dispatchThreadgroups:one threadsPerThreadgroup:one];
    [ended dispatchThreads:one threadsPerThreadgroup:one];
    [ended memoryBarrierWithScope:MTLBarrierScopeBuffers];
    [ended waitForFence:(id)fence];
    [ended updateFence:(id)fence];
    [ended endEncoding];
  }
}
