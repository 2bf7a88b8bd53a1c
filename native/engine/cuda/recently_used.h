// Values of the keys that were asked for last, as many as weigh no more than there is room for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>

namespace thermocline::cuda {

template <class Key, class Value>
class RecentlyUsed {
 public:
  // Keeps what weighs at most so much together.
  explicit RecentlyUsed(size_t most) : most_(most) {}

  // The key's value, made anew where it is not kept; it stays until weigh() is called for another one.
  Value& operator[](const Key& key) {
    last_ = &entries_[key];
    last_->used = ++uses_;
    return last_->value;
  }

  // Keeps nothing but the value that was asked for last. Returns whether there was more.
  bool drop_others() {
    const bool more = entries_.size() > 1;
    std::erase_if(entries_, [this](const auto& entry) { return &entry.second != last_; });
    together_ = last_->weight;
    return more;
  }

  // What the value that was asked for last weighs. It is kept whatever that is; those that were not asked for the longest
  // make room.
  void weigh(size_t weight) {
    together_ += weight - last_->weight;
    last_->weight = weight;
    while (together_ > most_ && entries_.size() > 1) {
      const auto oldest = std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
        return a.second.used < b.second.used;
      });
      together_ -= oldest->second.weight;
      entries_.erase(oldest);
    }
  }

 private:
  struct Entry {
    Value value{};
    size_t weight = 0;
    uint64_t used = 0;
  };
  size_t most_, together_ = 0;
  uint64_t uses_ = 0;
  std::map<Key, Entry> entries_;
  Entry* last_ = nullptr;
};

}  // namespace thermocline::cuda
