// Pieces of memory that one launch takes to their places, emulated.
#include "../engine/cuda/scatter.h"

#include <numeric>

#include "card.h"

namespace thermocline {
namespace {

using namespace test;

constexpr unsigned kWordsOfPiece = sizeof(cuda::Piece) / sizeof(uint32_t);
constexpr unsigned kPlace = 1200;  // words

TEST(every_length_goes_to_its_place_and_no_further) {
  std::vector<unsigned> lengths;
  for (unsigned words = 0; words <= 3 * kWordsOfPiece; ++words) lengths.push_back(words);
  // About a block's threads, once and twice.
  for (const unsigned pieces : {127u, 128u, 129u, 257u}) {
    for (unsigned more = 0; more < kWordsOfPiece; ++more) lengths.push_back(pieces * kWordsOfPiece + more);
  }
  const auto count = static_cast<unsigned>(lengths.size());
  std::vector<uint32_t> words(size_t{count} * kPlace);
  std::iota(words.begin(), words.end(), 1u);
  CardMemory<uint32_t> from(words), to(words.size(), 0u);
  CardMemory<cuda::ScatteredCopy> copies(count);
  // In another order than they lie in.
  const auto place_of = [&](unsigned i) { return size_t{(7 * i + 3) % count} * kPlace; };
  for (unsigned i = 0; i < count; ++i) {
    copies[i] = {to.data() + place_of(i), from.data() + size_t{i} * kPlace, lengths[i]};
  }
  cuda::scatter(nullptr, copies.data(), count);
  for (unsigned i = 0; i < count; ++i) {
    for (unsigned w = 0; w < kPlace; ++w) {
      CHECK_EQ(to[place_of(i) + w], w < lengths[i] ? from[size_t{i} * kPlace + w] : 0u);
    }
  }
}

TEST(single_words_need_no_more_than_their_alignment) {
  CardMemory<uint32_t> from(std::vector<uint32_t>{1, 2, 3, 4, 5}), to(5, 0u);
  CardMemory<cuda::ScatteredCopy> copies(2);
  copies[0] = {to.data() + 1, from.data() + 3, 1};
  copies[1] = {to.data() + 3, from.data() + 1, 2};
  cuda::scatter(nullptr, copies.data(), 2);
  CHECK(to.values() == (std::vector<uint32_t>{0, 4, 0, 2, 3}));
  cuda::scatter(nullptr, copies.data(), 0);
}

}  // namespace
}  // namespace thermocline
