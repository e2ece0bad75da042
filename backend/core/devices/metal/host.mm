// The Metal host: the only file that speaks Objective-C. Manual retain and release, so that it also
// builds where there is no ARC; an autorelease pool around every entry; nothing throws, because no
// C++ exception can be caught in or pass an Objective-C frame on every runtime.
//
// Calls newer than macOS 13.5, or than the macOS 14 SDK, are asked for by selector and class name
// (protocol Later), so that one build runs on all.
#include <math.h>  // INFINITY, which Metal.h uses
#include <time.h>
#include <unistd.h>

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>
#import <MetalPerformanceShaders/MetalPerformanceShaders.h>

#include <algorithm>

#include "devices/metal/host.h"

@protocol LaminaLater
- (void)setMathMode:(NSInteger)mode;
- (void)setMathFloatingPointFunctions:(NSInteger)functions;
- (BOOL)waitUntilSignaledValue:(uint64_t)value timeoutMS:(uint64_t)milliseconds;
- (id)newResidencySetWithDescriptor:(id)descriptor error:(NSError**)error;
- (void)setInitialCapacity:(NSUInteger)capacity;
- (void)addAllocation:(id)allocation;
- (void)removeAllocation:(id)allocation;
- (void)commit;
- (void)requestResidency;
- (void)endResidency;
- (void)addResidencySet:(id)set;
- (void)removeResidencySet:(id)set;
@end

namespace lamina::metal {
namespace {

constexpr NSInteger kMathModeSafe = 0, kMathFunctionsPrecise = 1;
constexpr int kNewestFamily = 10;
constexpr MTLResourceOptions kMemory =
    MTLResourceStorageModeShared | MTLResourceHazardTrackingModeUntracked;

id<LaminaLater> later(id object) { return (id<LaminaLater>)object; }

std::string text(NSString* string) { return string ? [string UTF8String] : ""; }

void describe(NSError* error, Failure& failure, const char* otherwise) {
  failure.code = error ? static_cast<int64_t>([error code]) : 0;
  failure.domain = error ? text([error domain]) : "";
  failure.text = error ? text([error localizedDescription]) : "";
  if (failure.text.empty()) failure.text = otherwise;
}

// Labels of the encoders a failure hit, where the command buffer was asked to keep them.
std::string faulted_encoders(NSError* error) {
  std::string out;
  id infos = [[error userInfo] objectForKey:MTLCommandBufferEncoderInfoErrorKey];
  for (id<MTLCommandBufferEncoderInfo> info in (NSArray*)infos) {
    if ([info errorState] != MTLCommandEncoderErrorStateFaulted) continue;
    out += out.empty() ? ", in " : ", ";
    out += text([info label]);
  }
  return out;
}

Outcome outcome_of(id<MTLCommandBuffer> buffer) {
  Outcome out;
  out.gpu_start = [buffer GPUStartTime];
  out.gpu_end = [buffer GPUEndTime];
  if ([buffer status] == MTLCommandBufferStatusCompleted) return out;
  NSError* error = [buffer error];
  describe(error, out.failure, "the command buffer failed without saying why");
  out.failure.text += faulted_encoders(error);
  return out;
}

// MSL 3.0 came with macOS 13, 3.1 with 14, 3.2 with 15, 4.0 with 26.
NSUInteger language_version(int os_major) {
  constexpr NSUInteger three = 3u << 16, four = 4u << 16;
  if (os_major >= 26) return four;
  return three + static_cast<NSUInteger>(std::clamp(os_major - 13, 0, 2));
}

id<MTLDevice> system_device() {
  NSArray* all = MTLCopyAllDevices();
  id<MTLDevice> device = [all count] ? [[all objectAtIndex:0] retain] : nil;
  [all release];
  return device ? device : MTLCreateSystemDefaultDevice();
}

class MetalHost final : public Host {
 public:
  explicit MetalHost(id<MTLDevice> device) : device_(device) {
    gather_facts();
    gather_counters();
  }
  ~MetalHost() override {
    [timestamps_ release];
    [device_ release];
  }

  const Facts& facts() const override { return facts_; }
  void release(Handle object) noexcept override {
    @autoreleasepool {
      [(id)object release];
    }
  }
  double seconds() const override {
#ifdef __APPLE__
    return static_cast<double>(clock_gettime_nsec_np(CLOCK_UPTIME_RAW)) * 1e-9;
#else
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
#endif
  }
  int64_t allocated_bytes() const override {
    return static_cast<int64_t>([device_ currentAllocatedSize]);
  }

  Handle new_buffer(int64_t bytes, void** contents) override {
    @autoreleasepool {
      id<MTLBuffer> buffer = [device_ newBufferWithLength:static_cast<NSUInteger>(bytes)
                                                  options:kMemory];
      *contents = buffer ? [buffer contents] : nullptr;
      return buffer;
    }
  }
  Handle adopt_pages(void* start, int64_t bytes) override {
    @autoreleasepool {
      return [device_ newBufferWithBytesNoCopy:start
                                        length:static_cast<NSUInteger>(bytes)
                                       options:kMemory
                                   deallocator:nil];
    }
  }

  Handle new_library(const std::string& source, Failure& failure) override;
  Handle new_pipeline(Handle library, const PipelineRequest& request, PipelineFacts& facts,
                      Failure& failure) override;
  Handle new_archive(const std::string& path, Failure& failure) override;
  bool add_to_archive(Handle archive, Handle library, const PipelineRequest& request,
                      Failure& failure) override;
  bool write_archive(Handle archive, const std::string& path, Failure& failure) override;

  Handle new_queue() override {
    @autoreleasepool {
      return [device_ newCommandQueue];
    }
  }
  Handle new_fence() override {
    @autoreleasepool {
      return [device_ newFence];
    }
  }
  Handle new_event() override {
    @autoreleasepool {
      return [device_ newSharedEvent];
    }
  }
  Handle new_order_event() override {
    @autoreleasepool {
      return [device_ newEvent];
    }
  }
  uint64_t event_value(Handle event) const override {
    return [(id<MTLSharedEvent>)event signaledValue];
  }
  void set_event_value(Handle event, uint64_t value) override {
    [(id<MTLSharedEvent>)event setSignaledValue:value];
  }
  bool await_event(Handle event, uint64_t value, int64_t milliseconds) override {
    @autoreleasepool {
      return [later((id)event) waitUntilSignaledValue:value
                                            timeoutMS:static_cast<uint64_t>(milliseconds)];
    }
  }

  Handle begin_commands(Handle queue, bool detailed) override;
  void wait_event(Handle commands, Handle event, uint64_t value) override {
    [(id<MTLCommandBuffer>)commands encodeWaitForEvent:(id<MTLEvent>)event value:value];
  }
  void signal_event(Handle commands, Handle event, uint64_t value) override {
    [(id<MTLCommandBuffer>)commands encodeSignalEvent:(id<MTLEvent>)event value:value];
  }
  void commit(Handle commands, Completion done, void* context) override {
    @autoreleasepool {
      id<MTLCommandBuffer> buffer = (id<MTLCommandBuffer>)commands;
      [buffer addCompletedHandler:^(id<MTLCommandBuffer> finished) {
        @autoreleasepool {
          done(context, outcome_of(finished));
        }
      }];
      [buffer commit];
    }
  }

  bool completed(Handle commands) const override {
    return [(id<MTLCommandBuffer>)commands status] == MTLCommandBufferStatusCompleted;
  }

  Handle begin_encoder(Handle commands, const char* label, Handle samples, int first) override;
  void encode(Handle encoder, const Dispatch& dispatch) override;
  void wait_fence(Handle encoder, Handle fence) override {
    [(id<MTLComputeCommandEncoder>)encoder waitForFence:(id<MTLFence>)fence];
  }
  void update_fence(Handle encoder, Handle fence) override {
    [(id<MTLComputeCommandEncoder>)encoder updateFence:(id<MTLFence>)fence];
  }
  void end_encoder(Handle encoder) override {
    @autoreleasepool {
      [(id<MTLComputeCommandEncoder>)encoder endEncoding];
      [(id)encoder release];
    }
  }

  Handle new_product(const ProductRequest& request) override;
  void encode_product(Handle commands, Handle product, const ProductRequest& request,
                      const MatrixPlace& left, const MatrixPlace& right,
                      const MatrixPlace& result) override;

  Handle new_samples(int count, Failure& failure) override;
  bool read_samples(Handle samples, std::span<uint64_t> out) override;

  Handle new_residency_set(Failure& failure) override;
  void residency_add(Handle set, Handle buffer) override {
    [later((id)set) addAllocation:(id)buffer];
  }
  void residency_remove(Handle set, Handle buffer) override {
    [later((id)set) removeAllocation:(id)buffer];
  }
  void residency_commit(Handle set) override {
    @autoreleasepool {
      [later((id)set) commit];
      [later((id)set) requestResidency];
    }
  }
  void residency_attach(Handle queue, Handle set) override {
    [later((id)queue) addResidencySet:(id)set];
  }
  void residency_detach(Handle queue, Handle set) override {
    [later((id)queue) removeResidencySet:(id)set];
    [later((id)set) endResidency];
  }

  Failure start_capture(const std::string& path) override;
  void stop_capture() override {
    @autoreleasepool {
      [[MTLCaptureManager sharedCaptureManager] stopCapture];
    }
  }

 private:
  void gather_facts();
  void gather_counters();

  id<MTLDevice> device_;
  id<MTLCounterSet> timestamps_ = nil;
  Facts facts_;
};

void MetalHost::gather_facts() {
  @autoreleasepool {
    NSOperatingSystemVersion os = [[NSProcessInfo processInfo] operatingSystemVersion];
    facts_.os_major = static_cast<int>(os.majorVersion);
    facts_.os_minor = static_cast<int>(os.minorVersion);
    facts_.os_build = text([[NSProcessInfo processInfo] operatingSystemVersionString]);
    facts_.name = text([device_ name]);
    if ([(id)device_ respondsToSelector:@selector(architecture)]) {
      id architecture = [(id)device_ performSelector:@selector(architecture)];
      facts_.architecture = text([architecture performSelector:@selector(name)]);
    }
    for (int n = 1; n <= kNewestFamily; ++n)
      if ([device_ supportsFamily:static_cast<MTLGPUFamily>(1000 + n)]) facts_.family = n;
    facts_.unified = [device_ hasUnifiedMemory];
    facts_.residency_sets =
        [(id)device_ respondsToSelector:@selector(newResidencySetWithDescriptor:error:)] &&
        NSClassFromString(@"MTLResidencySetDescriptor") != Nil && facts_.family >= 6;
    facts_.matrix_library = MPSSupportsMTLDevice(device_);
    facts_.working_set_bytes = static_cast<int64_t>([device_ recommendedMaxWorkingSetSize]);
    facts_.max_buffer_bytes = static_cast<int64_t>([device_ maxBufferLength]);
    facts_.threadgroup_bytes = static_cast<int64_t>([device_ maxThreadgroupMemoryLength]);
    facts_.max_threads = static_cast<int>([device_ maxThreadsPerThreadgroup].width);
    facts_.page_bytes = static_cast<int64_t>(getpagesize());
  }
}

void MetalHost::gather_counters() {
  @autoreleasepool {
    if (![device_ supportsCounterSampling:MTLCounterSamplingPointAtStageBoundary]) return;
    for (id<MTLCounterSet> set in [device_ counterSets])
      if ([[set name] isEqualToString:MTLCommonCounterSetTimestamp]) timestamps_ = [(id)set retain];
    facts_.stage_counters = timestamps_ != nil;
  }
}

Handle MetalHost::new_library(const std::string& source, Failure& failure) {
  @autoreleasepool {
    MTLCompileOptions* options = [[[MTLCompileOptions alloc] init] autorelease];
    if ([options respondsToSelector:@selector(setMathMode:)]) {
      [later(options) setMathMode:kMathModeSafe];
      [later(options) setMathFloatingPointFunctions:kMathFunctionsPrecise];
    } else {
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
      [options setFastMathEnabled:NO];
#pragma clang diagnostic pop
    }
    [options setLanguageVersion:(MTLLanguageVersion)language_version(facts_.os_major)];
    NSString* string = [NSString stringWithUTF8String:source.c_str()];
    NSError* error = nil;
    id<MTLLibrary> library = [device_ newLibraryWithSource:string options:options error:&error];
    // A library may come with an error that is only a warning.
    if (!library) describe(error, failure, "the compiler gave no library and no reason");
    return library;
  }
}

// Autoreleased; nil: `failure` says why.
MTLComputePipelineDescriptor* descriptor_of(id<MTLLibrary> library, const PipelineRequest& request,
                                            Failure& failure) {
  NSString* name = [NSString stringWithUTF8String:request.function.c_str()];
  NSError* error = nil;
  id<MTLFunction> function = nil;
  if (request.constants.empty()) {
    function = [library newFunctionWithName:name];
  } else {
    MTLFunctionConstantValues* values = [[[MTLFunctionConstantValues alloc] init] autorelease];
    for (const FunctionConstant& c : request.constants)
      [values setConstantValue:&c.bits
                          type:static_cast<MTLDataType>(c.type)
                       atIndex:static_cast<NSUInteger>(c.index)];
    function = [library newFunctionWithName:name constantValues:values error:&error];
  }
  if (!function) {
    describe(error, failure, "the library has no function of this name");
    return nil;
  }
  MTLComputePipelineDescriptor* descriptor =
      [[[MTLComputePipelineDescriptor alloc] init] autorelease];
  [descriptor setComputeFunction:function];
  [(id)function release];
  [descriptor setLabel:name];
  if (request.threads > 0)
    [descriptor setMaxTotalThreadsPerThreadgroup:static_cast<NSUInteger>(request.threads)];
  if (request.archive) [descriptor setBinaryArchives:[NSArray arrayWithObject:(id)request.archive]];
  return descriptor;
}

Handle MetalHost::new_pipeline(Handle library, const PipelineRequest& request, PipelineFacts& facts,
                               Failure& failure) {
  @autoreleasepool {
    MTLComputePipelineDescriptor* descriptor =
        descriptor_of((id<MTLLibrary>)library, request, failure);
    if (!descriptor) return nullptr;
    NSError* error = nil;
    id<MTLComputePipelineState> pipeline = [device_
        newComputePipelineStateWithDescriptor:descriptor
                                      options:request.found_only
                                                  ? MTLPipelineOptionFailOnBinaryArchiveMiss
                                                  : MTLPipelineOptionNone
                                   reflection:nullptr
                                        error:&error];
    if (!pipeline) {
      describe(error, failure, "the driver gave no pipeline and no reason");
      return nullptr;
    }
    facts.max_threads = static_cast<int>([pipeline maxTotalThreadsPerThreadgroup]);
    facts.simd_width = static_cast<int>([pipeline threadExecutionWidth]);
    facts.static_threadgroup_bytes = static_cast<int64_t>([pipeline staticThreadgroupMemoryLength]);
    return pipeline;
  }
}

NSURL* file_url(const std::string& path) {
  return [NSURL fileURLWithPath:[NSString stringWithUTF8String:path.c_str()]];
}

Handle MetalHost::new_archive(const std::string& path, Failure& failure) {
  @autoreleasepool {
    MTLBinaryArchiveDescriptor* descriptor =
        [[[MTLBinaryArchiveDescriptor alloc] init] autorelease];
    if (!path.empty()) [descriptor setUrl:file_url(path)];
    NSError* error = nil;
    id<MTLBinaryArchive> archive = [device_ newBinaryArchiveWithDescriptor:descriptor error:&error];
    if (!archive) describe(error, failure, "no archive and no reason");
    return archive;
  }
}

bool MetalHost::add_to_archive(Handle archive, Handle library, const PipelineRequest& request,
                               Failure& failure) {
  @autoreleasepool {
    MTLComputePipelineDescriptor* descriptor =
        descriptor_of((id<MTLLibrary>)library, request, failure);
    if (!descriptor) return false;
    NSError* error = nil;
    const bool added =
        [(id<MTLBinaryArchive>)archive addComputePipelineFunctionsWithDescriptor:descriptor
                                                                           error:&error];
    if (!added) describe(error, failure, "not added, without a reason");
    return added;
  }
}

bool MetalHost::write_archive(Handle archive, const std::string& path, Failure& failure) {
  @autoreleasepool {
    NSError* error = nil;
    const bool written = [(id<MTLBinaryArchive>)archive serializeToURL:file_url(path) error:&error];
    if (!written) describe(error, failure, "not written, without a reason");
    return written;
  }
}

Handle MetalHost::begin_commands(Handle queue, bool detailed) {
  @autoreleasepool {
    MTLCommandBufferDescriptor* descriptor =
        [[[MTLCommandBufferDescriptor alloc] init] autorelease];
    [descriptor setRetainedReferences:NO];
    if (detailed) [descriptor setErrorOptions:MTLCommandBufferErrorOptionEncoderExecutionStatus];
    return [(id)[(id<MTLCommandQueue>)queue commandBufferWithDescriptor:descriptor] retain];
  }
}

Handle MetalHost::begin_encoder(Handle commands, const char* label, Handle samples, int first) {
  @autoreleasepool {
    id<MTLCommandBuffer> buffer = (id<MTLCommandBuffer>)commands;
    id<MTLComputeCommandEncoder> encoder = nil;
    if (samples) {
      MTLComputePassDescriptor* pass = [MTLComputePassDescriptor computePassDescriptor];
      [pass setDispatchType:MTLDispatchTypeConcurrent];
      MTLComputePassSampleBufferAttachmentDescriptor* at =
          [[pass sampleBufferAttachments] objectAtIndexedSubscript:0];
      [at setSampleBuffer:(id<MTLCounterSampleBuffer>)samples];
      [at setStartOfEncoderSampleIndex:static_cast<NSUInteger>(first)];
      [at setEndOfEncoderSampleIndex:static_cast<NSUInteger>(first) + 1];
      encoder = [buffer computeCommandEncoderWithDescriptor:pass];
    } else {
      encoder = [buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
    }
    if (label) [encoder setLabel:[NSString stringWithUTF8String:label]];
    return [(id)encoder retain];
  }
}

void MetalHost::encode(Handle handle, const Dispatch& d) {
  @autoreleasepool {
    id<MTLComputeCommandEncoder> encoder = (id<MTLComputeCommandEncoder>)handle;
    if (d.barrier) [encoder memoryBarrierWithScope:MTLBarrierScopeBuffers];
    [encoder setComputePipelineState:(id<MTLComputePipelineState>)d.pipeline];
    NSUInteger index = 0;
    for (const BoundBuffer& b : d.buffers)
      [encoder setBuffer:(id<MTLBuffer>)b.buffer
                  offset:static_cast<NSUInteger>(b.offset)
                 atIndex:index++];
    if (d.block_bytes > 0)
      [encoder setBytes:d.block length:static_cast<NSUInteger>(d.block_bytes) atIndex:index];
    if (d.threadgroup_bytes > 0)
      [encoder setThreadgroupMemoryLength:static_cast<NSUInteger>(d.threadgroup_bytes) atIndex:0];
    auto size = [](const auto(&n)[3]) {
      return MTLSizeMake(static_cast<NSUInteger>(n[0]), static_cast<NSUInteger>(n[1]),
                         static_cast<NSUInteger>(n[2]));
    };
    if (d.grid[0] > 0)
      [encoder dispatchThreads:size(d.grid) threadsPerThreadgroup:size(d.threads)];
    else
      [encoder dispatchThreadgroups:size(d.groups) threadsPerThreadgroup:size(d.threads)];
  }
}

Handle MetalHost::new_product(const ProductRequest& r) {
  @autoreleasepool {
    auto n = [](int64_t value) { return static_cast<NSUInteger>(value); };
    MPSMatrixMultiplication* product =
        [[MPSMatrixMultiplication alloc] initWithDevice:device_
                                          transposeLeft:r.transpose_left
                                         transposeRight:r.transpose_right
                                             resultRows:n(r.rows)
                                          resultColumns:n(r.columns)
                                        interiorColumns:n(r.depth)
                                                  alpha:1
                                                   beta:0];
    [product setBatchStart:0];
    [product setBatchSize:n(r.batch)];
    return product;
  }
}

void MetalHost::encode_product(Handle commands, Handle product, const ProductRequest& request,
                               const MatrixPlace& left, const MatrixPlace& right,
                               const MatrixPlace& result) {
  @autoreleasepool {
    auto n = [](int64_t value) { return static_cast<NSUInteger>(value); };
    auto matrix = [&](const MatrixPlace& m) {
      MPSMatrixDescriptor* descriptor = [MPSMatrixDescriptor
          matrixDescriptorWithRows:n(m.rows)
                           columns:n(m.columns)
                          matrices:n(request.batch)
                          rowBytes:n(m.row_bytes)
                       matrixBytes:n(m.matrix_bytes)
                          dataType:request.half ? MPSDataTypeFloat16 : MPSDataTypeFloat32];
      return [[[MPSMatrix alloc] initWithBuffer:(id<MTLBuffer>)m.at.buffer
                                         offset:n(m.at.offset)
                                     descriptor:descriptor] autorelease];
    };
    [(MPSMatrixMultiplication*)product encodeToCommandBuffer:(id<MTLCommandBuffer>)commands
                                                  leftMatrix:matrix(left)
                                                 rightMatrix:matrix(right)
                                                resultMatrix:matrix(result)];
  }
}

Handle MetalHost::new_samples(int count, Failure& failure) {
  @autoreleasepool {
    MTLCounterSampleBufferDescriptor* descriptor =
        [[[MTLCounterSampleBufferDescriptor alloc] init] autorelease];
    [descriptor setCounterSet:timestamps_];
    [descriptor setStorageMode:MTLStorageModeShared];
    [descriptor setSampleCount:static_cast<NSUInteger>(count)];
    NSError* error = nil;
    id<MTLCounterSampleBuffer> samples = [device_ newCounterSampleBufferWithDescriptor:descriptor
                                                                                 error:&error];
    if (!samples) describe(error, failure, "no counter sample buffer");
    return samples;
  }
}

bool MetalHost::read_samples(Handle samples, std::span<uint64_t> out) {
  @autoreleasepool {
    NSData* data =
        [(id<MTLCounterSampleBuffer>)samples resolveCounterRange:NSMakeRange(0, out.size())];
    if ([data length] < out.size() * sizeof(MTLCounterResultTimestamp)) return false;
    const MTLCounterResultTimestamp* values =
        static_cast<const MTLCounterResultTimestamp*>([data bytes]);
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = values[i].timestamp == MTLCounterErrorValue ? 0 : values[i].timestamp;
    return true;
  }
}

Handle MetalHost::new_residency_set(Failure& failure) {
  @autoreleasepool {
    id descriptor = [[[NSClassFromString(@"MTLResidencySetDescriptor") alloc] init] autorelease];
    [later(descriptor) setInitialCapacity:64];
    NSError* error = nil;
    id set = [later((id)device_) newResidencySetWithDescriptor:descriptor error:&error];
    if (!set) describe(error, failure, "no residency set");
    return set;
  }
}

Failure MetalHost::start_capture(const std::string& path) {
  @autoreleasepool {
    Failure failure;
    MTLCaptureManager* manager = [MTLCaptureManager sharedCaptureManager];
    if (![manager supportsDestination:MTLCaptureDestinationGPUTraceDocument]) {
      failure.code = MTLCaptureErrorNotSupported;
      failure.text = "this process may not capture";
      return failure;
    }
    MTLCaptureDescriptor* descriptor = [[[MTLCaptureDescriptor alloc] init] autorelease];
    [descriptor setCaptureObject:device_];
    [descriptor setDestination:MTLCaptureDestinationGPUTraceDocument];
    [descriptor setOutputURL:file_url(path)];
    NSError* error = nil;
    if (![manager startCaptureWithDescriptor:descriptor error:&error])
      describe(error, failure, "the capture did not start");
    return failure;
  }
}

Host* make_host() {
  @autoreleasepool {
    id<MTLDevice> device = system_device();
    return device ? new MetalHost(device) : nullptr;
  }
}

[[maybe_unused]] const bool kProvided = (provide_host(make_host), true);

}  // namespace
}  // namespace lamina::metal
