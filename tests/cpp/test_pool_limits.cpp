// devices/pool: the limits that a pool starts with.
#include "check.h"
#include "devices/pool.h"

namespace lamina::test {

TEST(a_pool_keeps_four_gigabytes_or_a_quarter_of_its_limit) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  Pool small(8 * kGiB), large(64 * kGiB);
  CHECK_EQ(small.limit(), 8 * kGiB / 100 * 95);
  CHECK_EQ(small.set_cache_limit(0), small.limit() / 4);
  CHECK_EQ(large.set_cache_limit(0), 4 * kGiB);
  CHECK_EQ(large.set_cache_limit(5), 0);
}

}  // namespace lamina::test
