// The device of the double, its libraries and its capture manager.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "objects.h"

using namespace metal_double;

NSString* const MTLCommonCounterSetTimestamp = @"timestamp";
NSString* const MTLCommandBufferErrorDomain = @"MTLCommandBufferErrorDomain";
NSString* const MTLCommandBufferEncoderInfoErrorKey = @"MTLCommandBufferEncoderInfoErrorKey";
NSString* const MTLLibraryErrorDomain = @"MTLLibraryErrorDomain";
NSString* const MTLCaptureErrorDomain = @"MTLCaptureError";

namespace {

NSString* ns(const std::string& string) { return [NSString stringWithUTF8String:string.c_str()]; }

bool fails(Point point) {
  std::lock_guard lock(world().mutex);
  return world().fails(point);
}

void violation(const std::string& what) {
  std::lock_guard lock(world().mutex);
  world().violation(what);
}

// Memory that nothing but the host's own order protects, and that the CPU sees.
void check_options(const std::string& call, MTLResourceOptions options) {
  constexpr MTLResourceOptions kExpected =
      MTLResourceStorageModeShared | MTLResourceHazardTrackingModeUntracked;
  if (options != kExpected)
    violation(call + ": options " + std::to_string(options) + ", not shared and untracked");
}

bool newer(int os_major) { return world().machine.os_major >= os_major; }

}  // namespace

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wobjc-protocol-method-implementation"
@implementation NSProcessInfo (LaminaDouble)
- (NSOperatingSystemVersion)operatingSystemVersion {
  NSOperatingSystemVersion version = {world().machine.os_major, 5, 0};
  return version;
}
- (NSString*)operatingSystemVersionString {
  return ns("Version " + std::to_string(world().machine.os_major) + ".5 (Build " +
            world().machine.os_build + ")");
}
@end
#pragma clang diagnostic pop

// --- descriptors -------------------------------------------------------------------------------

@implementation MTLCompileOptions
- (id)init {
  self = [super init];
  fastMath = YES;
  mathMode = mathFunctions = -1;
  return self;
}
- (BOOL)respondsToSelector:(SEL)selector {
  if (sel_isEqual(selector, @selector(setMathMode:)) ||
      sel_isEqual(selector, @selector(setMathFloatingPointFunctions:)))
    return newer(15);
  return [super respondsToSelector:selector];
}
- (void)setFastMathEnabled:(BOOL)enabled {
  fastMath = enabled;
}
- (void)setLanguageVersion:(MTLLanguageVersion)version {
  language = version;
}
- (void)setMathMode:(NSInteger)mode {
  if (!newer(15)) violation("setMathMode: is newer than this system");
  mathMode = mode;
}
- (void)setMathFloatingPointFunctions:(NSInteger)functions {
  mathFunctions = functions;
}
@end

@implementation MTLFunctionConstantValues
- (id)init {
  self = [super init];
  values = new Constants;
  return self;
}
- (void)setConstantValue:(const void*)value type:(MTLDataType)type atIndex:(NSUInteger)index {
  const size_t bytes = type == MTLDataTypeBool ? 1 : 4;
  const auto* first = static_cast<const unsigned char*>(value);
  (*static_cast<Constants*>(values))[static_cast<int>(index)] = {static_cast<int>(type),
                                                                 {first, first + bytes}};
}
- (void)dealloc {
  delete static_cast<Constants*>(values);
  [super dealloc];
}
@end

@implementation MTLComputePipelineDescriptor
- (void)setComputeFunction:(id<MTLFunction>)f {
  function = [(id)f retain];
}
- (void)setLabel:(NSString*)label {
  (void)label;
}
- (void)setMaxTotalThreadsPerThreadgroup:(NSUInteger)threads {
  maxThreads = threads;
}
- (void)setBinaryArchives:(NSArray*)value {
  archives = [value retain];
}
- (void)dealloc {
  [(id)function release];
  [archives release];
  [super dealloc];
}
@end

@implementation MTLCommandBufferDescriptor
- (void)setRetainedReferences:(BOOL)value {
  retained = value;
}
- (void)setErrorOptions:(MTLCommandBufferErrorOption)value {
  options = value;
}
@end

@implementation MTLCounterSampleBufferDescriptor
- (void)setCounterSet:(id<MTLCounterSet>)set {
  if (!set) violation("counters: no counter set");
}
- (void)setStorageMode:(MTLStorageMode)mode {
  if (mode == MTLStorageModeManaged) violation("counters: storage must be shared or private");
}
- (void)setSampleCount:(NSUInteger)value {
  count = value;
}
@end

@implementation MTLComputePassSampleBufferAttachmentDescriptor
- (void)setSampleBuffer:(id<MTLCounterSampleBuffer>)value {
  samples = value;
}
- (void)setStartOfEncoderSampleIndex:(NSUInteger)index {
  start = index;
}
- (void)setEndOfEncoderSampleIndex:(NSUInteger)index {
  end = index;
}
@end

@implementation MTLComputePassSampleBufferAttachmentDescriptorArray
- (id)init {
  self = [super init];
  first = [[MTLComputePassSampleBufferAttachmentDescriptor alloc] init];
  return self;
}
- (MTLComputePassSampleBufferAttachmentDescriptor*)objectAtIndexedSubscript:(NSUInteger)index {
  return index == 0 ? first : nil;
}
- (void)dealloc {
  [first release];
  [super dealloc];
}
@end

@implementation MTLComputePassDescriptor
+ (MTLComputePassDescriptor*)computePassDescriptor {
  MTLComputePassDescriptor* pass = [[[MTLComputePassDescriptor alloc] init] autorelease];
  pass->attachments = [[MTLComputePassSampleBufferAttachmentDescriptorArray alloc] init];
  return pass;
}
- (void)setDispatchType:(MTLDispatchType)value {
  type = value;
}
- (MTLComputePassSampleBufferAttachmentDescriptorArray*)sampleBufferAttachments {
  return attachments;
}
- (void)dealloc {
  [attachments release];
  [super dealloc];
}
@end

// --- libraries ---------------------------------------------------------------------------------

@implementation DoubleFunction
- (id)initWithProgram:(std::shared_ptr<Program>)program
                 name:(const std::string&)called
            constants:(const Constants&)values {
  self = [super init];
  state = new std::shared_ptr<Program>(program);
  name = new std::string(called);
  constants = new Constants(values);
  count_object(1);
  return self;
}
- (void)dealloc {
  delete state;
  delete name;
  delete constants;
  count_object(-1);
  [super dealloc];
}
@end

@implementation DoubleLibrary
- (id)initWithProgram:(std::shared_ptr<Program>)program {
  self = [super init];
  state = new std::shared_ptr<Program>(program);
  count_object(1);
  return self;
}
- (id<MTLFunction>)newFunctionWithName:(NSString*)name {
  if (!(*state)->has(text(name))) return nil;
  return [[DoubleFunction alloc] initWithProgram:*state name:text(name) constants:Constants()];
}
- (id<MTLFunction>)newFunctionWithName:(NSString*)name
                        constantValues:(id)values
                                 error:(NSError**)error {
  constexpr int64_t kFunctionNotFound = 5;
  if (!(*state)->has(text(name))) {
    *error = error_of(MTLLibraryErrorDomain, kFunctionNotFound, "no such function");
    return nil;
  }
  const void* held = ((MTLFunctionConstantValues*)values)->values;
  return [[DoubleFunction alloc] initWithProgram:*state
                                            name:text(name)
                                       constants:*static_cast<const Constants*>(held)];
}
- (void)dealloc {
  delete state;
  count_object(-1);
  [super dealloc];
}
@end

// --- the device --------------------------------------------------------------------------------

@interface DoubleArchitecture : NSObject
- (NSString*)name;
@end
@implementation DoubleArchitecture
- (NSString*)name {
  return ns(world().machine.architecture);
}
@end

@interface DoubleDevice : NSObject <MTLDevice> {
  int64_t number;
}
@end
@implementation DoubleDevice
- (id)init {
  static std::atomic<int64_t> devices = 0;
  self = [super init];
  number = ++devices;
  return self;
}
- (NSString*)name {
  return ns(world().machine.name);
}
- (id)architecture {
  return [[[DoubleArchitecture alloc] init] autorelease];
}
- (BOOL)respondsToSelector:(SEL)selector {
  if (sel_isEqual(selector, @selector(architecture))) return newer(14);
  if (sel_isEqual(selector, @selector(newResidencySetWithDescriptor:error:))) return newer(15);
  return [super respondsToSelector:selector];
}
- (BOOL)hasUnifiedMemory {
  return YES;
}
- (BOOL)supportsFamily:(MTLGPUFamily)family {
  const int number = static_cast<int>(family) - 1000;
  return number >= 1 && number <= world().machine.family;
}
- (uint64_t)recommendedMaxWorkingSetSize {
  return static_cast<uint64_t>(world().machine.memory / 4 * 3);
}
- (NSUInteger)maxBufferLength {
  return static_cast<NSUInteger>(world().machine.buffer_limit);
}
- (NSUInteger)maxThreadgroupMemoryLength {
  return static_cast<NSUInteger>(world().machine.threadgroup_bytes);
}
- (MTLSize)maxThreadsPerThreadgroup {
  const auto n = static_cast<NSUInteger>(world().machine.max_threads);
  return MTLSizeMake(n, n, n);
}
- (NSUInteger)currentAllocatedSize {
  std::lock_guard lock(world().mutex);
  return static_cast<NSUInteger>(world().seen.buffer_bytes);
}
- (id<MTLCommandQueue>)newCommandQueue {
  if (fails(Point::queue)) return nil;
  DoubleQueue* made = [[DoubleQueue alloc] init];
  made->device = number;
  return made;
}

- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options {
  check_options("buffer", options);
  const Machine& machine = world().machine;
  const auto bytes = static_cast<int64_t>(length);
  if (bytes < 1 || bytes > machine.buffer_limit) {
    violation("buffer: length " + std::to_string(bytes));
    return nil;
  }
  {
    std::lock_guard lock(world().mutex);
    if (world().fails(Point::buffer) || world().seen.buffer_bytes + bytes > machine.memory)
      return nil;
  }
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  storage->device = number;
  const auto page = static_cast<size_t>(getpagesize());
  storage->data = static_cast<char*>(std::aligned_alloc(page, (length + page - 1) / page * page));
  if (!storage->data) return nil;
  // What was never written is not zero by luck.
  std::fill_n(storage->data, std::min<int64_t>(bytes, 1 << 16), '\xa5');
  return [[DoubleBuffer alloc] initWithStorage:storage];
}
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void*)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void (^)(void*, NSUInteger))deallocator {
  check_options("bytesNoCopy", options);
  (void)deallocator;
  const auto page = static_cast<uintptr_t>(getpagesize());
  if (reinterpret_cast<uintptr_t>(pointer) % page || length % page || length == 0) {
    violation("bytesNoCopy: pointer or length is not of whole pages");
    return nil;
  }
  if (fails(Point::adopt)) return nil;
  auto storage = std::make_shared<Storage>();
  storage->bytes = static_cast<int64_t>(length);
  storage->data = static_cast<char*>(pointer);
  storage->owned = false;
  storage->device = number;
  return [[DoubleBuffer alloc] initWithStorage:storage];
}
- (id<MTLFence>)newFence {
  if (fails(Point::fence)) return nil;
  DoubleFence* made = [[DoubleFence alloc] init];
  (*made->state)->device = number;
  return made;
}
- (id<MTLEvent>)newEvent {
  DoubleEvent* made = [[DoubleEvent alloc] init];
  (*made->state)->device = number;
  return made;
}
- (id<MTLSharedEvent>)newSharedEvent {
  return [[DoubleEvent alloc] init];
}

- (id<MTLLibrary>)newLibraryWithSource:(NSString*)source
                               options:(MTLCompileOptions*)options
                                 error:(NSError**)error {
  constexpr int64_t kCompileFailure = 3;
  const bool safe =
      newer(15) ? options->mathMode == 0 && options->mathFunctions == 1 : options->fastMath == NO;
  if (!safe) violation("library: compiled with fast math");
  if (!options->language) violation("library: no language version");
  {
    std::lock_guard lock(world().mutex);
    ++world().seen.libraries;
    if (text(source).starts_with("#pragma METAL fp contract(off)\n")) ++world().seen.uncontracted;
  }
  std::string why = "injected";
  std::shared_ptr<Program> program;
  if (!fails(Point::library)) program = compile(text(source), why);
  if (!program) {
    *error = error_of(MTLLibraryErrorDomain, kCompileFailure, why);
    return nil;
  }
  return [[DoubleLibrary alloc] initWithProgram:program];
}
- (id<MTLComputePipelineState>)newComputePipelineStateWithDescriptor:
                                   (MTLComputePipelineDescriptor*)descriptor
                                                             options:(MTLPipelineOption)options
                                                          reflection:(id*)reflection
                                                               error:(NSError**)error {
  (void)reflection;
  constexpr int64_t kInternal = 3;
  DoubleFunction* function = (DoubleFunction*)descriptor->function;
  std::string why = "Compiler encountered an internal error";
  std::shared_ptr<Executable> executable;
  bool found = false;
  for (DoubleArchive* archive in descriptor->archives)
    found = found || archive->entries->contains(metal_double::entry_of(descriptor));
  if (!found && (options & MTLPipelineOptionFailOnBinaryArchiveMiss)) {
    *error = error_of(@"AGXMetal", kInternal, "not in the binary archives");
    return nil;
  }
  if (!found) {
    std::lock_guard lock(world().mutex);
    ++world().seen.pipeline_compilations;
  }
  if (!fails(Point::pipeline))
    executable = (*function->state)
                     ->make(*function->name, *function->constants,
                            static_cast<int>(descriptor->maxThreads), why);
  if (executable && executable->static_bytes > world().machine.threadgroup_bytes) {
    why = "Threadgroup memory size (" + std::to_string(executable->static_bytes) +
          ") exceeds the maximum";
    executable = nullptr;
  }
  if (!executable) {
    *error = error_of(@"AGXMetal", kInternal, why);
    return nil;
  }
  executable->device = number;
  return [[DoublePipeline alloc] initWithExecutable:executable];
}

- (id<MTLBinaryArchive>)newBinaryArchiveWithDescriptor:(MTLBinaryArchiveDescriptor*)descriptor
                                                 error:(NSError**)error {
  constexpr int64_t kInvalidFile = 1;
  std::string why = "injected";
  DoubleArchive* made = nil;
  if (!fails(Point::archive))
    made = [[DoubleArchive alloc]
        initWithPath:descriptor->url ? text([descriptor->url path]) : std::string()
                 why:&why];
  if (!made) *error = error_of(@"MTLBinaryArchiveDomain", kInvalidFile, why);
  return made;
}

- (NSArray*)counterSets {
  return [NSArray arrayWithObject:[[[DoubleCounterSet alloc] init] autorelease]];
}
- (BOOL)supportsCounterSampling:(MTLCounterSamplingPoint)point {
  return point == MTLCounterSamplingPointAtStageBoundary && world().machine.stage_counters;
}
- (id<MTLCounterSampleBuffer>)newCounterSampleBufferWithDescriptor:
                                  (MTLCounterSampleBufferDescriptor*)descriptor
                                                             error:(NSError**)error {
  constexpr NSUInteger kMost = 4096;  // of 8 bytes each: drivers give no more than 32 KiB
  if (fails(Point::samples) || descriptor->count > kMost) {
    *error = error_of(@"MTLCounterErrorDomain", 0, "no room for the samples");
    return nil;
  }
  DoubleSamples* made = [[DoubleSamples alloc] initWithCount:descriptor->count];
  (*made->state)->device = number;
  return made;
}
- (id)newResidencySetWithDescriptor:(id)descriptor error:(NSError**)error {
  (void)error;
  if (!newer(15)) violation("residency sets are newer than this system");
  if (!descriptor) violation("residency: no descriptor");
  return [[DoubleResidencySet alloc] init];
}
@end

id<MTLDevice> MTLCreateSystemDefaultDevice(void) {
  return world().machine.present ? [[DoubleDevice alloc] init] : nil;
}

NSArray* MTLCopyAllDevices(void) {
  if (!world().machine.present || !world().machine.listed) return [[NSArray alloc] init];
  id device = [[[DoubleDevice alloc] init] autorelease];
  return [[NSArray alloc] initWithObjects:device, nil];
}

// --- capture -----------------------------------------------------------------------------------

@implementation MTLCaptureDescriptor
- (void)setCaptureObject:(id)value {
  object = value;
}
- (void)setDestination:(MTLCaptureDestination)value {
  destination = value;
}
- (void)setOutputURL:(NSURL*)value {
  url = [value retain];
}
- (void)dealloc {
  [url release];
  [super dealloc];
}
@end

@implementation MTLCaptureManager
+ (MTLCaptureManager*)sharedCaptureManager {
  static MTLCaptureManager* manager = [[MTLCaptureManager alloc] init];
  return manager;
}
- (BOOL)supportsDestination:(MTLCaptureDestination)destination {
  return destination == MTLCaptureDestinationGPUTraceDocument && world().machine.may_capture;
}
- (BOOL)startCaptureWithDescriptor:(MTLCaptureDescriptor*)descriptor error:(NSError**)error {
  std::lock_guard lock(world().mutex);
  const std::string path = text([descriptor->url path]);
  if (world().capturing) {
    *error = error_of(MTLCaptureErrorDomain, MTLCaptureErrorAlreadyCapturing, "already capturing");
    return NO;
  }
  if (path.empty() || access(path.c_str(), F_OK) == 0) {
    *error = error_of(MTLCaptureErrorDomain, MTLCaptureErrorInvalidDescriptor,
                      "the output file exists: " + path);
    return NO;
  }
  world().capturing = true;
  world().seen.traces = 0;
  return YES;
}
- (void)stopCapture {
  std::lock_guard lock(world().mutex);
  if (!world().capturing) world().violation("capture: stopped without a start");
  world().capturing = false;
}
@end

void metal_double::ask_for_memory(uint64_t options) {
  @autoreleasepool {
    id<MTLDevice> device = MTLCreateSystemDefaultDevice();
    const auto page = static_cast<NSUInteger>(getpagesize());
    const auto wished = static_cast<MTLResourceOptions>(options);
    [[device newBufferWithLength:page options:wished] release];
    void* pages = std::aligned_alloc(page, page);
    [[device newBufferWithBytesNoCopy:pages length:page options:wished deallocator:nil] release];
    std::free(pages);
    [device release];
  }
}

void metal_double::compile_with_fast_math(const std::string& source) {
  @autoreleasepool {
    id<MTLDevice> device = MTLCreateSystemDefaultDevice();
    MTLCompileOptions* options = [[MTLCompileOptions alloc] init];
    [options setLanguageVersion:MTLLanguageVersion3_0];
    if (newer(15)) {
      options->mathMode = 2;
      options->mathFunctions = 0;
    } else {
      [options setFastMathEnabled:YES];
    }
    NSError* error = nil;
    [[device newLibraryWithSource:ns(source) options:options error:&error] release];
    [options release];
    [device release];
  }
}
