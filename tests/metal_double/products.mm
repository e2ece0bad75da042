// Metal Performance Shaders of the double. A product encodes an encoder of its own, as the real
// one does: fences do not reach it, events do.
#import <MetalPerformanceShaders/MetalPerformanceShaders.h>

#include "objects.h"
#include "products.h"

using namespace metal_double;

@implementation MPSMatrixDescriptor
+ (instancetype)matrixDescriptorWithRows:(NSUInteger)rows
                                 columns:(NSUInteger)columns
                                matrices:(NSUInteger)matrices
                                rowBytes:(NSUInteger)rowBytes
                             matrixBytes:(NSUInteger)matrixBytes
                                dataType:(MPSDataType)dataType {
  MPSMatrixDescriptor* made = [[[MPSMatrixDescriptor alloc] init] autorelease];
  made->rows = rows;
  made->columns = columns;
  made->matrices = matrices;
  made->rowBytes = rowBytes;
  made->matrixBytes = matrixBytes;
  made->dataType = dataType;
  return made;
}
@end

@implementation MPSMatrix
- (instancetype)initWithBuffer:(id<MTLBuffer>)of
                        offset:(NSUInteger)at
                    descriptor:(MPSMatrixDescriptor*)described {
  self = [super init];
  buffer = [(id)of retain];
  offset = at;
  descriptor = [described retain];
  count_object(1);
  return self;
}
- (void)dealloc {
  [(id)buffer release];
  [descriptor release];
  count_object(-1);
  [super dealloc];
}
@end

namespace {

MatrixShape shape_of(MPSMatrix* matrix) {
  MPSMatrixDescriptor* d = matrix->descriptor;
  auto n = [](NSUInteger value) { return static_cast<int64_t>(value); };
  return {n(d->rows),     n(d->columns),     n(d->matrices),
          n(d->rowBytes), n(d->matrixBytes), d->dataType == MPSDataTypeFloat16};
}

Bound bound_of(MPSMatrix* matrix) {
  Bound bound;
  bound.storage = *((DoubleBuffer*)matrix->buffer)->state;
  bound.offset = static_cast<int64_t>(matrix->offset);
  return bound;
}

}  // namespace

@implementation MPSMatrixMultiplication
- (instancetype)initWithDevice:(id<MTLDevice>)device
                 transposeLeft:(BOOL)left
                transposeRight:(BOOL)right
                    resultRows:(NSUInteger)resultRows
                 resultColumns:(NSUInteger)resultColumns
               interiorColumns:(NSUInteger)interiorColumns
                         alpha:(double)alpha
                          beta:(double)beta {
  (void)device;
  self = [super init];
  transposeLeft = left;
  transposeRight = right;
  rows = resultRows;
  columns = resultColumns;
  depth = interiorColumns;
  batchSize = 1;
  count_object(1);
  std::lock_guard lock(world().mutex);
  if (alpha != 1 || beta != 0) world().violation("MPS: the double knows alpha 1 and beta 0");
  if (!world().fails(Point::product)) return self;
  --world().seen.live_objects;
  return nil;
}
- (void)setBatchStart:(NSUInteger)start {
  batchStart = start;
}
- (void)setBatchSize:(NSUInteger)size {
  batchSize = size;
}
- (void)encodeToCommandBuffer:(id<MTLCommandBuffer>)commandBuffer
                   leftMatrix:(MPSMatrix*)left
                  rightMatrix:(MPSMatrix*)right
                 resultMatrix:(MPSMatrix*)result {
  std::lock_guard lock(world().mutex);
  DoubleCommands* commands = (DoubleCommands*)commandBuffer;
  ProductShape shape = {shape_of(left), shape_of(right), shape_of(result)};
  shape.transpose_left = transposeLeft;
  shape.transpose_right = transposeRight;
  shape.rows = static_cast<int64_t>(rows);
  shape.columns = static_cast<int64_t>(columns);
  shape.depth = static_cast<int64_t>(depth);
  shape.batch_start = static_cast<int64_t>(batchStart);
  shape.batch = static_cast<int64_t>(batchSize);
  shape.wrong = world().fails(Point::sums);
  Invocation call;
  MPSMatrix* matrices[] = {left, right, result};
  const MatrixShape* shapes[] = {&shape.left, &shape.right, &shape.result};
  const char* names[] = {"left", "right", "result"};
  for (size_t i = 0; i < 3; ++i) {
    call.buffers[i] = bound_of(matrices[i]);
    if (std::string why = refusal(*shapes[i], call.buffers[i], names[i]); !why.empty())
      return world().violation(why);
  }
  if (std::string why = refusal(shape); !why.empty()) return world().violation(why);
  if (commands->open) return world().violation("MPS: a product with an open encoder");
  if ((*commands->state)->status != Status::encoding)
    return world().violation("MPS: a product on a committed command buffer");
  auto encoder = std::make_shared<EncoderState>();
  encoder->label = "MPSMatrixMultiplication";
  encoder->concurrent = false;
  encoder->birth = world().order.epoch();
  encoder->commands.push_back({Command::Kind::dispatch, {make_product(shape), call}, nullptr});
  for (const Bound& b : call.buffers)
    if (b.storage) need(**commands->state, b.storage);
  (*commands->state)->items.push_back({Item::Kind::encoder, encoder, nullptr, 0});
  ++world().seen.encoders;
  ++world().seen.products;
}
- (void)dealloc {
  count_object(-1);
  [super dealloc];
}
@end

BOOL MPSSupportsMTLDevice(id<MTLDevice> device) {
  (void)device;
  return world().machine.matrix_library;
}
