#include "devices/metal/chips.h"

#include <algorithm>
#include <cctype>

namespace lamina::metal {

namespace {

constexpr int64_t kMega = int64_t{1} << 20;

// By size: more cores take more work before the cost of a command buffer shows. The milliseconds
// are far below the five seconds after which the system kills a command buffer, and below the load
// at which a display that waits for the GPU makes it do so sooner.
struct SizeRow {
  char size;
  int cores;
  Budget budget;
};
constexpr SizeRow kSizes[] = {
    {'p', 5, {20, 160 * kMega, 30, 6}},
    {'g', 8, {40, 160 * kMega, 50, 10}},
    {'s', 24, {50, 200 * kMega, 80, 10}},
    {'d', 48, {50, 200 * kMega, 80, 10}},
};

// Published rates of the smallest chip of each kind. Only where estimates start: a queue corrects
// them by what it measures.
struct RateRow {
  int generation;
  char size;
  double gigabytes_per_second, teraflops;
};
constexpr RateRow kRates[] = {
    {13, 'g', 68, 2.6},   {13, 's', 400, 7.8},  {13, 'd', 800, 15.7}, {14, 'g', 100, 2.9},
    {14, 's', 400, 10.7}, {14, 'd', 800, 21.5}, {15, 'g', 100, 2.8},  {15, 's', 300, 10.6},
    {15, 'd', 819, 21.2}, {16, 'g', 120, 3.7},  {16, 's', 410, 13.8}, {17, 'g', 153, 3.8},
};
constexpr RateRow kUnknown = {0, 'g', 68, 2.6};

// Tiles of matrix products, from a generation on. Half a tile's height for products of few tiles
// where many cores are to be fed; M3 gives registers out by need, so that there a deeper step costs
// no groups. As the field's libraries have them on these chips; not yet measured here.
struct TileRow {
  int first_generation;
  char size;
  GemmTile tile, small_tile;
};
constexpr TileRow kTiles[] = {
    {13, 'p', {32, 32, 16}, {32, 32, 16}}, {13, 'g', {64, 64, 16}, {32, 32, 16}},
    {13, 's', {64, 64, 16}, {32, 64, 16}}, {13, 'd', {64, 64, 16}, {32, 64, 16}},
    {15, 'g', {64, 64, 16}, {32, 32, 32}}, {15, 's', {64, 64, 16}, {32, 32, 32}},
    {15, 'd', {64, 64, 16}, {32, 32, 32}}, {17, 'g', {64, 64, 16}, {64, 32, 32}},
};

constexpr int kFirstGeneration = 13;      // M1
constexpr int kFirstHardwareBfloat = 15;  // M3
constexpr int kOldestFamily = 7;          // M1
constexpr int kFirstWithVirtual = 15;     // macOS

// "applegpu_g14s" -> 14, 's'.
bool parse_architecture(const std::string& name, int& generation, char& size) {
  const std::string head = "applegpu_g";
  if (name.rfind(head, 0) != 0) return false;
  size_t at = head.size();
  int number = 0;
  while (at < name.size() && std::isdigit(static_cast<unsigned char>(name[at])))
    number = number * 10 + (name[at++] - '0');
  if (number == 0 || at + 1 != name.size()) return false;
  generation = number;
  size = name[at];
  return true;
}

// "Apple M2 Max" -> 14, 's'.
bool parse_name(const std::string& name, int& generation, char& size) {
  const std::string head = "Apple M";
  if (name.rfind(head, 0) != 0) return false;
  int number = std::atoi(name.c_str() + head.size());
  if (number <= 0) return false;
  generation = kFirstGeneration - 1 + number;
  auto says = [&](const char* word) { return name.find(word) != std::string::npos; };
  size = says("Ultra") ? 'd' : says("Max") ? 's' : 'g';
  return true;
}

const SizeRow& size_row(char size) {
  for (const SizeRow& row : kSizes)
    if (row.size == size) return row;
  return kSizes[1];
}

// The newest generation known that is not newer than asked for, of this size or else the base.
const RateRow& rate_row(int generation, char size) {
  const RateRow* best = nullptr;
  for (char wanted : {size, 'g'}) {
    for (const RateRow& row : kRates)
      if (row.size == wanted && row.generation <= generation &&
          (!best || row.generation > best->generation))
        best = &row;
    if (best) return *best;
  }
  return kUnknown;
}

const TileRow& tile_row(int generation, char size) {
  const TileRow* best = &kTiles[1];
  for (const TileRow& row : kTiles)
    if (row.size == size && row.first_generation <= generation) best = &row;
  return *best;
}

}  // namespace

Chip chip_of(const Facts& facts) {
  int generation = 0;
  char size = 'g';
  if (!parse_architecture(facts.architecture, generation, size))
    parse_name(facts.name, generation, size);
  const SizeRow& by_size = size_row(size);
  const RateRow& rates = rate_row(generation, by_size.size);
  const TileRow& tiles = tile_row(generation, by_size.size);
  return {generation,      size,
          by_size.cores,   rates.gigabytes_per_second,
          rates.teraflops, generation >= kFirstHardwareBfloat,
          by_size.budget,  tiles.tile,
          tiles.small_tile};
}

// A virtual machine's GPU is Apple silicon that claims to be an older family. Up to macOS 14 its
// kernels compute nothing; runners of continuous integration have it.
std::string why_not(const Facts& facts) {
  const bool is_virtual = facts.name.find("Paravirtual") != std::string::npos;
  if (is_virtual && facts.os_major < kFirstWithVirtual)
    return "metal: " + facts.name + ": virtual machines need macOS " +
           std::to_string(kFirstWithVirtual);
  if (facts.unified && (is_virtual || facts.family >= kOldestFamily)) return "";
  return "metal: " + facts.name + ": only Apple silicon is supported";
}

double estimated_ms(const Chip& chip, int64_t bytes, int64_t flops) {
  double memory = static_cast<double>(bytes) / (chip.gigabytes_per_second * 1e6);
  double arithmetic = static_cast<double>(flops) / (chip.teraflops * 1e9);
  return std::max(memory, arithmetic);
}

}  // namespace lamina::metal
