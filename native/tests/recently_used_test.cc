// What is kept for keys that come again.
#include "../engine/cuda/recently_used.h"

#include <vector>

#include "check.h"

namespace thermocline {
namespace {

struct Kept {
  cuda::RecentlyUsed<int, int> values;

  // Whether the key's value is another use's; it is from now on.
  bool has(int key, size_t weight) {
    int& value = values[key];
    const bool had = value == key;
    value = key;
    values.weigh(weight);
    return had;
  }
};

TEST(what_was_not_asked_for_the_longest_makes_room) {
  Kept kept{cuda::RecentlyUsed<int, int>(3)};
  for (const int key : {1, 2, 3}) CHECK(!kept.has(key, 1));
  CHECK(kept.has(1, 1));
  CHECK(!kept.has(4, 1));  // in 2's place
  for (const int key : {3, 1, 4}) CHECK(kept.has(key, 1));
  CHECK(!kept.has(2, 1));  // in 3's place
  for (const int key : {1, 4, 2}) CHECK(kept.has(key, 1));
}

TEST(what_is_heavy_takes_the_room_of_several) {
  Kept kept{cuda::RecentlyUsed<int, int>(5)};
  for (const int key : {1, 2, 3}) CHECK(!kept.has(key, 1));
  CHECK(!kept.has(4, 4));  // in that of 1 and 2
  for (const int key : {3, 4}) CHECK(kept.has(key, key == 3 ? 1 : 4));
  CHECK(!kept.has(5, 9));  // whatever it weighs, it is kept, and alone
  CHECK(kept.has(5, 1));
  for (const int key : {3, 4}) CHECK(!kept.has(key, 2));
  CHECK(kept.has(5, 1));
}

TEST(all_others_may_be_dropped) {
  Kept kept{cuda::RecentlyUsed<int, int>(5)};
  for (const int key : {1, 2, 3}) CHECK(!kept.has(key, 1));
  CHECK(kept.has(2, 1));
  CHECK(kept.values.drop_others());
  CHECK(!kept.values.drop_others());
  CHECK(kept.has(2, 1));
  CHECK(!kept.has(1, 4));  // there is room for both
  CHECK(kept.has(2, 1));
  CHECK(!kept.has(3, 1));  // in 1's place
  CHECK(kept.has(2, 1));
}

TEST(a_value_stays_where_it_is) {
  cuda::RecentlyUsed<int, std::vector<int>> kept(2);
  const std::vector<int>* first = &kept[1];
  kept.weigh(1);
  kept[2];
  kept.weigh(1);
  CHECK(&kept[1] == first);
}

}  // namespace
}  // namespace thermocline
