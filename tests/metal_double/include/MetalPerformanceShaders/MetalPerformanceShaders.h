// The part of Metal Performance Shaders that lamina's host calls, for Linux: see Metal.h beside it.
#pragma once

#import <Metal/Metal.h>

typedef NS_ENUM(uint32_t, MPSDataType) {
  MPSDataTypeFloatBit = 0x10000000,
  MPSDataTypeFloat32 = MPSDataTypeFloatBit | 32,
  MPSDataTypeFloat16 = MPSDataTypeFloatBit | 16,
};

@interface MPSMatrixDescriptor : NSObject {
 @public
  NSUInteger rows, columns, matrices, rowBytes, matrixBytes;
  MPSDataType dataType;
}
+ (instancetype)matrixDescriptorWithRows:(NSUInteger)rows
                                 columns:(NSUInteger)columns
                                matrices:(NSUInteger)matrices
                                rowBytes:(NSUInteger)rowBytes
                             matrixBytes:(NSUInteger)matrixBytes
                                dataType:(MPSDataType)dataType;
@end
@interface MPSMatrix : NSObject {
 @public
  id<MTLBuffer> buffer;
  NSUInteger offset;
  MPSMatrixDescriptor* descriptor;
}
- (instancetype)initWithBuffer:(id<MTLBuffer>)buffer
                        offset:(NSUInteger)offset
                    descriptor:(MPSMatrixDescriptor*)descriptor;
@end
@interface MPSMatrixMultiplication : NSObject {
 @public
  BOOL transposeLeft, transposeRight;
  NSUInteger rows, columns, depth, batchStart, batchSize;
}
- (instancetype)initWithDevice:(id<MTLDevice>)device
                 transposeLeft:(BOOL)transposeLeft
                transposeRight:(BOOL)transposeRight
                    resultRows:(NSUInteger)resultRows
                 resultColumns:(NSUInteger)resultColumns
               interiorColumns:(NSUInteger)interiorColumns
                         alpha:(double)alpha
                          beta:(double)beta;
- (void)setBatchStart:(NSUInteger)start;
- (void)setBatchSize:(NSUInteger)size;
- (void)encodeToCommandBuffer:(id<MTLCommandBuffer>)commandBuffer
                   leftMatrix:(MPSMatrix*)leftMatrix
                  rightMatrix:(MPSMatrix*)rightMatrix
                 resultMatrix:(MPSMatrix*)resultMatrix;
@end

#ifdef __cplusplus
extern "C" {
#endif
BOOL MPSSupportsMTLDevice(id<MTLDevice> device);
#ifdef __cplusplus
}
#endif
