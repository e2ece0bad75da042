// Binary archives of the double: which pipelines of which driver a file has the machine code of.
#include <algorithm>
#include <fstream>
#include <functional>

#include "objects.h"

using namespace metal_double;

namespace metal_double {

namespace {
std::string header() { return "archive of driver " + world().machine.os_build; }
}  // namespace

// Everything that machine code depends on.
std::string entry_of(MTLComputePipelineDescriptor* descriptor) {
  DoubleFunction* function = (DoubleFunction*)descriptor->function;
  std::string all = (*function->state)->source;
  for (const auto& [index, value] : *function->constants) {
    all += "\n" + std::to_string(index) + " " + std::to_string(value.first) + " ";
    all.append(value.second.begin(), value.second.end());
  }
  return *function->name + " " + std::to_string(descriptor->maxThreads) + " " +
         std::to_string(std::hash<std::string>()(all));
}

}  // namespace metal_double

@implementation MTLBinaryArchiveDescriptor
- (void)setUrl:(NSURL*)value {
  url = [value retain];
}
- (void)dealloc {
  [url release];
  [super dealloc];
}
@end

@implementation DoubleArchive
- (id)initWithPath:(const std::string&)path why:(std::string*)why {
  self = [super init];
  entries = new std::set<std::string>;
  count_object(1);
  if (path.empty()) return self;
  std::ifstream in(path);
  std::string line;
  if (!std::getline(in, line) || line != header()) {
    *why = path + " is no archive of this driver";
    [self release];
    return nil;
  }
  while (std::getline(in, line)) entries->insert(line);
  return self;
}
- (BOOL)addComputePipelineFunctionsWithDescriptor:(MTLComputePipelineDescriptor*)descriptor
                                            error:(NSError**)error {
  (void)error;
  entries->insert(entry_of(descriptor));
  std::lock_guard lock(world().mutex);
  ++world().seen.pipeline_compilations;
  return YES;
}
- (BOOL)serializeToURL:(NSURL*)url error:(NSError**)error {
  constexpr int64_t kInternal = 3;
  std::ofstream out(text([url path]));
  out << header() << "\n";
  for (const std::string& entry : *entries) out << entry << "\n";
  if (out.flush()) return YES;
  *error = error_of(@"MTLBinaryArchiveDomain", kInternal, "cannot write the file");
  return NO;
}
- (void)dealloc {
  delete entries;
  count_object(-1);
  [super dealloc];
}
@end
