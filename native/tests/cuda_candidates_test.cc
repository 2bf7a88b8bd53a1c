// Candidates on the card, emulated: what sorting the logits gives.
#include "../engine/cuda/candidates.h"

#include "candidates.h"
#include "card.h"
#include "scratch.h"

namespace thermocline {
namespace {

using namespace test;

constexpr unsigned kRows = 3;

void check(unsigned vocab, unsigned most, uint32_t seed) {
  WithScratch<cuda::CandidateSelection, CardMemory<std::byte>> selection(kRows, vocab);
  std::vector<float> all;
  std::vector<std::vector<float>> rows;
  for (unsigned r = 0; r < kRows; ++r) {
    rows.push_back(awkward_logits(vocab, seed * kRows + r));
    all.insert(all.end(), rows[r].begin(), rows[r].end());
  }
  const CardMemory<float> logits(all);
  CardMemory<Candidate> found(size_t{kRows} * kMostCandidates, {-1, 0});
  selection->select(nullptr, logits.data(), vocab, kRows, most, found.data());
  for (unsigned r = 0; r < kRows; ++r) {
    check_candidates(found.data() + size_t{r} * kMostCandidates, rows[r], most);
    if (most < kMostCandidates) CHECK_EQ(found[size_t{r} * kMostCandidates + most].token, -1);
  }
}

TEST(few_logits_take_a_round) {
  for (const unsigned vocab : {1u, 50u, 1023u, 1024u}) {
    for (const unsigned most : {1u, 2u, 128u}) check(vocab, most, vocab + most);
  }
}

TEST(many_logits_take_several) {
  check(1025, 1, 1);
  check(5000, 64, 2);
  check(9000, 128, 3);
  check(32000, 128, 4);
  check(32000, 2, 5);
}

}  // namespace
}  // namespace thermocline
