// Candidates of the head on CPU cores: what sorting the logits gives.
#include "candidates.h"

#include "../engine/candidate_order.h"
#include "../engine/cpu/candidates.h"
#include "engine_stack.h"
#include "scratch.h"

namespace thermocline {
namespace {

using namespace test;

TEST(keys_keep_tokens_and_logits) {
  for (const float logit : {0.0f, 1.5f, -1.5f, 1e-42f, -1e-42f, 3e38f, -3e38f, 1.0f / 0.0f, -1.0f / 0.0f}) {
    for (const uint32_t token : {0u, 1u, 0x7fffffffu}) {
      const uint64_t key = candidate_key(std::bit_cast<uint32_t>(logit), token);
      CHECK(key != 0);
      CHECK_EQ(candidate_of(key).logit, logit);
      CHECK_EQ(token_of(key), token);
    }
  }
}

TEST(the_highest_logits_are_found_in_order) {
  for (const uint32_t threads : {1u, 2u, 3u}) {
    ThreadPool pool(threads, {});
    WithScratch<Candidates> candidates(threads);
    uint32_t seed = 0;
    for (const size_t vocab : {1, 2, 50, 127, 1000, 5000}) {
      for (const uint32_t count : {1u, 2u, 64u, 128u}) {
        const std::vector<float> logits = awkward_logits(vocab, ++seed);
        std::vector<Candidate> found(kMostCandidates, {-1, 0});
        candidates->select({pool, best_kernels()}, logits.data(), vocab, count, found.data());
        check_candidates(found.data(), logits, count);
        if (count < kMostCandidates) CHECK_EQ(found[count].token, -1);
      }
    }
  }
}

TEST(rows_get_all_logits_or_the_highest_as_they_ask) {
  const TinyModel model(Recipe{});
  const auto tokens = some_tokens(model, 5);
  const Logits expected = EngineStack(model, model.schedule()).run_sequence(tokens, 5);
  EngineStack stack(model, model.schedule(), {.threads = 2});
  std::vector<StepRow> rows;
  for (int32_t i = 0; i < 5; ++i) rows.push_back({tokens[static_cast<size_t>(i)], i, 0, 1, 0});
  rows[1].candidates = 3;
  rows[2].wants_logits = 0;
  rows[3].candidates = kMostCandidates;
  const Logits whole = stack.run(rows);
  CHECK(whole == (Logits{expected[0], expected[4]}));
  check_candidates(stack.arena().candidates(), expected[1], 3);
  check_candidates(stack.arena().candidates() + kMostCandidates, expected[3], kMostCandidates);
}

}  // namespace
}  // namespace thermocline
