// The Objective-C classes of the double: thin shells over the records of gpu.h and executor.h.
#pragma once

#import <Metal/Metal.h>

#include "gpu.h"

namespace metal_double {
inline std::string text(NSString* string) { return string ? [string UTF8String] : ""; }
NSError* error_of(NSString* domain, int64_t code, const std::string& text);
void count_object(int64_t change);
// What identifies the machine code of a pipeline.
std::string entry_of(MTLComputePipelineDescriptor* descriptor);
}  // namespace metal_double

// One per record: `state` is a std::shared_ptr to it, on the heap, because C++ members of
// Objective-C classes are not constructed by this runtime.
#define LAMINA_DOUBLE_STATE(Type) \
 @public                          \
  std::shared_ptr<metal_double::Type>* state;

@interface DoubleBuffer : NSObject <MTLBuffer> {
  LAMINA_DOUBLE_STATE(Storage)
}
- (id)initWithStorage:(metal_double::StorageRef)storage;
@end
@interface DoubleFence : NSObject <MTLFence> {
  LAMINA_DOUBLE_STATE(FenceState)
}
@end
@interface DoubleEvent : NSObject <MTLSharedEvent> {
  LAMINA_DOUBLE_STATE(EventState)
}
@end
@interface DoubleSamples : NSObject <MTLCounterSampleBuffer> {
  LAMINA_DOUBLE_STATE(SamplesState)
}
- (id)initWithCount:(NSUInteger)count;
@end
@interface DoublePipeline : NSObject <MTLComputePipelineState> {
  LAMINA_DOUBLE_STATE(Executable)
}
- (id)initWithExecutable:(std::shared_ptr<metal_double::Executable>)executable;
@end
@interface DoubleLibrary : NSObject <MTLLibrary> {
  LAMINA_DOUBLE_STATE(Program)
}
- (id)initWithProgram:(std::shared_ptr<metal_double::Program>)program;
@end
@interface DoubleFunction : NSObject <MTLFunction> {
  LAMINA_DOUBLE_STATE(Program)
  std::string* name;
  metal_double::Constants* constants;
}
- (id)initWithProgram:(std::shared_ptr<metal_double::Program>)program
                 name:(const std::string&)name
            constants:(const metal_double::Constants&)constants;
@end
@interface DoubleArchive : NSObject <MTLBinaryArchive> {
 @public
  std::set<std::string>* entries;
}
// Of the file, empty where `path` is; nil: `why` says it.
- (id)initWithPath:(const std::string&)path why:(std::string*)why;
@end
@interface DoubleCounterSet : NSObject <MTLCounterSet>
@end
@interface DoubleQueue : NSObject <MTLCommandQueue> {
  LAMINA_DOUBLE_STATE(QueueState)
  NSMutableSet* sets;
  int64_t device;
}
@end
@interface DoubleCommands : NSObject <MTLCommandBuffer> {
  LAMINA_DOUBLE_STATE(CommandsState)
  DoubleQueue* queue;
  NSMutableArray* handlers;
  id open;  // the open encoder, not retained
  BOOL detailed;
}
- (id)initWithQueue:(DoubleQueue*)queue descriptor:(MTLCommandBufferDescriptor*)descriptor;
@end
@interface DoubleEncoder : NSObject <MTLComputeCommandEncoder> {
  LAMINA_DOUBLE_STATE(EncoderState)
  DoubleCommands* commands;
  std::shared_ptr<metal_double::Executable>* pipeline;
  metal_double::Invocation* call;
  std::set<const void*>* updated;
  BOOL ended;
}
- (id)initWithCommands:(DoubleCommands*)commands
                  type:(MTLDispatchType)type
                  pass:(MTLComputePassDescriptor*)pass;
@end
@interface DoubleResidencySet : NSObject {
 @public
  std::map<const void*, int64_t>*members, *pending;
}
@end
@interface MTLResidencySetDescriptor : NSObject
- (void)setInitialCapacity:(NSUInteger)capacity;
@end
