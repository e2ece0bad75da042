// One body of kernel text for Metal and CUDA: what their languages spell differently.
#pragma once

#include <initializer_list>
#include <string>

#include <lamina.h>

// Struct and text of a constant block, spelled once for both sides: Long is 64 bits.
typedef int64_t Long;
#define KERNEL_TEXT_OF(...) #__VA_ARGS__
#define KERNEL_TEXT(...) KERNEL_TEXT_OF(__VA_ARGS__)

// Ahead of everything. LANE is the thread in its group; GROUP and LINE are the group in the grid.
inline std::string kernel_prologue(const lamina_device* device) {
  if (device->dialect == LAMINA_MSL)
    return R"(#include <metal_stdlib>
using namespace metal;
typedef long Long;
#define SHARED threadgroup
#define BARRIER threadgroup_barrier(mem_flags::mem_threadgroup)
#define LANE int(thread_at.x)
#define GROUP int(group_at.x)
#define LINE int(group_at.y)
#define NOT_A_NUMBER as_type<float>(0x7fc00000)
)";
  return R"(typedef long long Long;
#define SHARED __shared__
#define BARRIER __syncthreads()
#define LANE int(threadIdx.x)
#define GROUP int(blockIdx.x)
#define LINE int(blockIdx.y)
#define NOT_A_NUMBER __int_as_float(0x7fc00000)
)";
}

// The head of a kernel over buffers ("const float* q"), with a constant block `s` after them.
inline std::string kernel_entry(const lamina_device* device, const std::string& name,
                                std::initializer_list<const char*> buffers) {
  const bool metal = device->dialect == LAMINA_MSL;
  std::string out = metal ? "kernel void " : "extern \"C\" __global__ void ";
  out += name + "(";
  int at = 0;
  for (const char* buffer : buffers) {
    out += metal ? std::string("device ") + buffer + " [[buffer(" + std::to_string(at++) + ")]]"
                 : std::string(buffer);
    out += ", ";
  }
  if (!metal) return out + "Block s) {\n";
  return out + "constant Block& s [[buffer(" + std::to_string(at) +
         ")]], uint3 group_at [[threadgroup_position_in_grid]], "
         "uint3 thread_at [[thread_position_in_threadgroup]]) {\n";
}
