// The part of Metal's interface that lamina's host calls, for Linux: names, values and selectors as
// Apple documents them, nothing else. What is behind them is this folder's double.
//
// Calls newer than macOS 13.5 are left out on purpose: the host must reach them by selector.
#pragma once

#include <math.h>

#import <Foundation/Foundation.h>

// What Debian 12's Foundation lacks.
typedef struct {
  NSInteger majorVersion, minorVersion, patchVersion;
} NSOperatingSystemVersion;
@interface NSProcessInfo (LaminaDouble)
- (NSOperatingSystemVersion)operatingSystemVersion;
@end

typedef struct {
  NSUInteger width, height, depth;
} MTLSize;
static inline MTLSize MTLSizeMake(NSUInteger width, NSUInteger height, NSUInteger depth) {
  MTLSize size = {width, height, depth};
  return size;
}

typedef NS_ENUM(NSInteger, MTLGPUFamily) {
  MTLGPUFamilyApple1 = 1001,
  MTLGPUFamilyApple7 = 1007,
  MTLGPUFamilyApple8 = 1008,
  MTLGPUFamilyApple9 = 1009,
  MTLGPUFamilyMetal3 = 5001,
};

typedef NS_OPTIONS(NSUInteger, MTLResourceOptions) {
  MTLResourceStorageModeShared = 0 << 4,
  MTLResourceStorageModeManaged = 1 << 4,
  MTLResourceStorageModePrivate = 2 << 4,
  MTLResourceHazardTrackingModeDefault = 0 << 8,
  MTLResourceHazardTrackingModeUntracked = 1 << 8,
  MTLResourceHazardTrackingModeTracked = 2 << 8,
};
typedef NS_ENUM(NSUInteger, MTLStorageMode) {
  MTLStorageModeShared = 0,
  MTLStorageModeManaged = 1,
  MTLStorageModePrivate = 2,
};
typedef NS_ENUM(NSUInteger, MTLDispatchType) {
  MTLDispatchTypeSerial = 0,
  MTLDispatchTypeConcurrent = 1,
};
typedef NS_OPTIONS(NSUInteger, MTLBarrierScope) { MTLBarrierScopeBuffers = 1 << 0 };
typedef NS_OPTIONS(NSUInteger, MTLPipelineOption) {
  MTLPipelineOptionNone = 0,
  MTLPipelineOptionFailOnBinaryArchiveMiss = 1 << 2,
};
typedef NS_ENUM(NSUInteger, MTLLanguageVersion) {
  MTLLanguageVersion3_0 = (3 << 16),
  MTLLanguageVersion3_1 = (3 << 16) + 1,
};
typedef NS_ENUM(NSUInteger, MTLDataType) {
  MTLDataTypeFloat = 3,
  MTLDataTypeInt = 29,
  MTLDataTypeUInt = 33,
  MTLDataTypeBool = 53,
};
typedef NS_ENUM(NSUInteger, MTLCommandBufferStatus) {
  MTLCommandBufferStatusNotEnqueued = 0,
  MTLCommandBufferStatusEnqueued = 1,
  MTLCommandBufferStatusCommitted = 2,
  MTLCommandBufferStatusScheduled = 3,
  MTLCommandBufferStatusCompleted = 4,
  MTLCommandBufferStatusError = 5,
};
typedef NS_OPTIONS(NSUInteger, MTLCommandBufferErrorOption) {
  MTLCommandBufferErrorOptionNone = 0,
  MTLCommandBufferErrorOptionEncoderExecutionStatus = 1 << 0,
};
typedef NS_ENUM(NSInteger, MTLCommandEncoderErrorState) {
  MTLCommandEncoderErrorStateUnknown = 0,
  MTLCommandEncoderErrorStateCompleted = 1,
  MTLCommandEncoderErrorStateAffected = 2,
  MTLCommandEncoderErrorStatePending = 3,
  MTLCommandEncoderErrorStateFaulted = 4,
};
typedef NS_ENUM(NSUInteger, MTLCounterSamplingPoint) {
  MTLCounterSamplingPointAtStageBoundary = 0,
  MTLCounterSamplingPointAtDispatchBoundary = 2,
};
typedef NS_ENUM(NSInteger, MTLCaptureError) {
  MTLCaptureErrorNotSupported = 1,
  MTLCaptureErrorAlreadyCapturing = 2,
  MTLCaptureErrorInvalidDescriptor = 3,
};
typedef NS_ENUM(NSInteger, MTLCaptureDestination) {
  MTLCaptureDestinationDeveloperTools = 1,
  MTLCaptureDestinationGPUTraceDocument = 2,
};
#define MTLCounterErrorValue ((uint64_t)-1)
#define MTLCounterDontSample ((NSUInteger)-1)
typedef struct {
  uint64_t timestamp;
} MTLCounterResultTimestamp;

extern NSString* const MTLCommonCounterSetTimestamp;
extern NSString* const MTLCommandBufferErrorDomain;
extern NSString* const MTLCommandBufferEncoderInfoErrorKey;
extern NSString* const MTLLibraryErrorDomain;
extern NSString* const MTLCaptureErrorDomain;

@protocol MTLDevice
, MTLCommandQueue, MTLCommandBuffer, MTLComputeCommandEncoder;

@protocol MTLResource <NSObject>
@end
@protocol MTLBuffer <MTLResource>
- (void*)contents;
- (NSUInteger)length;
@end
@protocol MTLFence <NSObject>
@end
@protocol MTLEvent <NSObject>
@end
@protocol MTLSharedEvent <MTLEvent>
- (uint64_t)signaledValue;
- (void)setSignaledValue:(uint64_t)value;
@end
@protocol MTLCounterSet <NSObject>
- (NSString*)name;
@end
@protocol MTLCounterSampleBuffer <NSObject>
- (NSData*)resolveCounterRange:(NSRange)range;
@end
@protocol MTLFunction <NSObject>
@end
@protocol MTLLibrary <NSObject>
- (id<MTLFunction>)newFunctionWithName:(NSString*)name;
- (id<MTLFunction>)newFunctionWithName:(NSString*)name
                        constantValues:(id)values
                                 error:(NSError**)error;
@end
@protocol MTLComputePipelineState <NSObject>
- (NSUInteger)maxTotalThreadsPerThreadgroup;
- (NSUInteger)threadExecutionWidth;
- (NSUInteger)staticThreadgroupMemoryLength;
@end

@interface MTLCompileOptions : NSObject {
 @public
  BOOL fastMath;
  NSUInteger language;
  NSInteger mathMode, mathFunctions;  // -1: not set
}
- (void)setFastMathEnabled:(BOOL)enabled;
- (void)setLanguageVersion:(MTLLanguageVersion)version;
@end
@interface MTLFunctionConstantValues : NSObject {
 @public
  void* values;  // owned by the double
}
- (void)setConstantValue:(const void*)value type:(MTLDataType)type atIndex:(NSUInteger)index;
@end
@interface MTLComputePipelineDescriptor : NSObject {
 @public
  id<MTLFunction> function;
  NSUInteger maxThreads;
  NSArray* archives;
}
- (void)setComputeFunction:(id<MTLFunction>)function;
- (void)setLabel:(NSString*)label;
- (void)setMaxTotalThreadsPerThreadgroup:(NSUInteger)threads;
- (void)setBinaryArchives:(NSArray*)archives;
@end
@interface MTLBinaryArchiveDescriptor : NSObject {
 @public
  NSURL* url;
}
- (void)setUrl:(NSURL*)url;
@end
@protocol MTLBinaryArchive <NSObject>
- (BOOL)addComputePipelineFunctionsWithDescriptor:(MTLComputePipelineDescriptor*)descriptor
                                            error:(NSError**)error;
- (BOOL)serializeToURL:(NSURL*)url error:(NSError**)error;
@end
@interface MTLCommandBufferDescriptor : NSObject {
 @public
  BOOL retained;
  MTLCommandBufferErrorOption options;
}
- (void)setRetainedReferences:(BOOL)retained;
- (void)setErrorOptions:(MTLCommandBufferErrorOption)options;
@end
@interface MTLCounterSampleBufferDescriptor : NSObject {
 @public
  NSUInteger count;
}
- (void)setCounterSet:(id<MTLCounterSet>)set;
- (void)setStorageMode:(MTLStorageMode)mode;
- (void)setSampleCount:(NSUInteger)count;
@end
@interface MTLComputePassSampleBufferAttachmentDescriptor : NSObject {
 @public
  id<MTLCounterSampleBuffer> samples;
  NSUInteger start, end;
}
- (void)setSampleBuffer:(id<MTLCounterSampleBuffer>)samples;
- (void)setStartOfEncoderSampleIndex:(NSUInteger)index;
- (void)setEndOfEncoderSampleIndex:(NSUInteger)index;
@end
@interface MTLComputePassSampleBufferAttachmentDescriptorArray : NSObject {
 @public
  MTLComputePassSampleBufferAttachmentDescriptor* first;
}
- (MTLComputePassSampleBufferAttachmentDescriptor*)objectAtIndexedSubscript:(NSUInteger)index;
@end
@interface MTLComputePassDescriptor : NSObject {
 @public
  MTLComputePassSampleBufferAttachmentDescriptorArray* attachments;
  MTLDispatchType type;
}
+ (MTLComputePassDescriptor*)computePassDescriptor;
- (void)setDispatchType:(MTLDispatchType)type;
- (MTLComputePassSampleBufferAttachmentDescriptorArray*)sampleBufferAttachments;
@end
@interface MTLCaptureDescriptor : NSObject {
 @public
  id object;
  MTLCaptureDestination destination;
  NSURL* url;
}
- (void)setCaptureObject:(id)object;
- (void)setDestination:(MTLCaptureDestination)destination;
- (void)setOutputURL:(NSURL*)url;
@end
@interface MTLCaptureManager : NSObject
+ (MTLCaptureManager*)sharedCaptureManager;
- (BOOL)supportsDestination:(MTLCaptureDestination)destination;
- (BOOL)startCaptureWithDescriptor:(MTLCaptureDescriptor*)descriptor error:(NSError**)error;
- (void)stopCapture;
@end

@protocol MTLCommandBufferEncoderInfo <NSObject>
- (NSString*)label;
- (MTLCommandEncoderErrorState)errorState;
@end

typedef void (^MTLCommandBufferHandler)(id<MTLCommandBuffer>);

@protocol MTLDevice <NSObject>
- (NSString*)name;
- (BOOL)hasUnifiedMemory;
- (BOOL)supportsFamily:(MTLGPUFamily)family;
- (uint64_t)recommendedMaxWorkingSetSize;
- (NSUInteger)maxBufferLength;
- (NSUInteger)maxThreadgroupMemoryLength;
- (MTLSize)maxThreadsPerThreadgroup;
- (NSUInteger)currentAllocatedSize;
- (id<MTLCommandQueue>)newCommandQueue;
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options;
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void*)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void (^)(void*, NSUInteger))deallocator;
- (id<MTLFence>)newFence;
- (id<MTLEvent>)newEvent;
- (id<MTLSharedEvent>)newSharedEvent;
- (id<MTLLibrary>)newLibraryWithSource:(NSString*)source
                               options:(MTLCompileOptions*)options
                                 error:(NSError**)error;
- (id<MTLComputePipelineState>)newComputePipelineStateWithDescriptor:
                                   (MTLComputePipelineDescriptor*)descriptor
                                                             options:(MTLPipelineOption)options
                                                          reflection:(id*)reflection
                                                               error:(NSError**)error;
- (id<MTLBinaryArchive>)newBinaryArchiveWithDescriptor:(MTLBinaryArchiveDescriptor*)descriptor
                                                 error:(NSError**)error;
- (NSArray*)counterSets;
- (BOOL)supportsCounterSampling:(MTLCounterSamplingPoint)point;
- (id<MTLCounterSampleBuffer>)newCounterSampleBufferWithDescriptor:
                                  (MTLCounterSampleBufferDescriptor*)descriptor
                                                             error:(NSError**)error;
@end
@protocol MTLCommandQueue <NSObject>
- (id<MTLCommandBuffer>)commandBufferWithDescriptor:(MTLCommandBufferDescriptor*)descriptor;
@end
@protocol MTLCommandBuffer <NSObject>
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type;
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDescriptor:(MTLComputePassDescriptor*)pass;
- (void)encodeWaitForEvent:(id<MTLEvent>)event value:(uint64_t)value;
- (void)encodeSignalEvent:(id<MTLEvent>)event value:(uint64_t)value;
- (void)addCompletedHandler:(MTLCommandBufferHandler)handler;
- (void)commit;
- (MTLCommandBufferStatus)status;
- (NSError*)error;
- (double)GPUStartTime;
- (double)GPUEndTime;
@end
@protocol MTLComputeCommandEncoder <NSObject>
- (void)setLabel:(NSString*)label;
- (void)setComputePipelineState:(id<MTLComputePipelineState>)pipeline;
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index;
- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads;
- (void)dispatchThreads:(MTLSize)grid threadsPerThreadgroup:(MTLSize)threads;
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope;
- (void)waitForFence:(id<MTLFence>)fence;
- (void)updateFence:(id<MTLFence>)fence;
- (void)endEncoding;
@end

#ifdef __cplusplus
extern "C" {
#endif
id<MTLDevice> MTLCreateSystemDefaultDevice(void);
NSArray* MTLCopyAllDevices(void);
#ifdef __cplusplus
}
#endif
