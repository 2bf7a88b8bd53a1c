// Attention on the card, emulated: the bits of the CPU's for every width of heads, sharing of keys and edge of a chunk.
#include "../engine/cuda/attention.h"

#include <algorithm>
#include <cstring>

#include "../engine/cuda/rope_and_store.h"
#include "../error.h"
#include "attention_problem.h"
#include "card.h"

namespace thermocline {
namespace {

using namespace test;

std::string describe(const AttentionSizes& sizes) {
  return std::to_string(sizes.heads) + " heads of " + std::to_string(sizes.head_dim) + ", " +
         std::to_string(sizes.kv_heads) + " of keys";
}

// What the card makes of it.
struct AttentionOnCard {
  CardMemory<uint16_t> cache;
  CardMemory<float> q, out;

  AttentionOnCard(const AttentionProblem& problem, const std::vector<Rope::Turn>& turns, unsigned rows_at_a_time)
      : cache(problem.cache), q(problem.q), out(problem.q.size()) {
    const AttentionSizes& sizes = problem.sizes;
    const auto rows = static_cast<unsigned>(problem.rows.size());
    CardMemory<StepRow> step_rows(problem.rows);
    CardMemory<Rope::Turn> card_turns(turns);
    CardMemory<float> k(problem.k), v(problem.v);
    const cuda::CardCache card{cache.data(), sizes.layers, sizes.kv_heads, sizes.context, sizes.head_dim};
    cuda::check_attention(sizes.head_dim, sizes.context);
    cuda::rope_and_store(nullptr, card, AttentionProblem::kLayer, problem.plan().shape, step_rows.data(), rows,
                         card_turns.data(), q.data(), k.data(), v.data());
    CardMemory<std::byte> scratch(
        cuda::attention_scratch_bytes(sizes.heads, sizes.head_dim, rows_at_a_time, sizes.context));
    // For as many positions as there are, and for all that could be.
    const int32_t deepest = std::max_element(problem.rows.begin(), problem.rows.end(), [](const auto& a, const auto& b) {
                              return a.position < b.position;
                            })->position;
    CardMemory<float> again(out.size());
    const auto attend = [&](unsigned positions, float* to) {
      cuda::attention(nullptr, card, AttentionProblem::kLayer, sizes.heads, step_rows.data(), rows, positions, q.data(),
                      to, {scratch.data(), rows_at_a_time});
    };
    attend(sizes.context, again.data());
    attend(cuda::launched_positions(static_cast<unsigned>(deepest) + 1, sizes.context), out.data());
    CHECK(std::memcmp(out.data(), again.data(), out.size() * sizeof(float)) == 0);
  }
};

void check(Random& random, const AttentionSizes& sizes, const std::vector<int32_t>& positions,
           unsigned rows_at_a_time = 16) {
  const AttentionProblem problem(random, sizes, positions);
  const AttentionOnCpu reference(problem, fusing_kernels());
  AttentionOnCard card(problem, reference.turns(), rows_at_a_time);
  CHECK(std::memcmp(card.cache.data(), reference.cache(), problem.cache.size() * sizeof(uint16_t)) == 0);
  CHECK(std::memcmp(card.q.data(), reference.q.data(), problem.q.size() * sizeof(float)) == 0);
  for (const Kernels* kernels : instruction_sets()) {
    if (!fuses(*kernels)) continue;
    const AttentionOnCpu cpu(problem, *kernels);
    const size_t row_size = size_t{sizes.heads} * sizes.head_dim;
    for (size_t i = 0; i < cpu.out.size(); ++i) {
      if (std::memcmp(&card.out[i], &cpu.out[i], sizeof(float)) == 0) continue;
      fail(__FILE__, __LINE__, describe(sizes), ", ", name_of(kernels->instruction_set), ", position ",
           positions[i / row_size], ", number ", i % row_size, " of its row: ", card.out[i], " instead of ",
           cpu.out[i]);
    }
  }
}

TEST(every_edge_of_a_chunk) {
  Random random(31);
  const std::vector<int32_t> positions = {0, 1, 31, 32, 127, 128, 129, 255, 256, 257, 700};
  check(random, {2, 2, 64}, positions);
  check(random, {8, 1, 128}, {0, 127, 128, 700});
}

TEST(few_kinds_of_launches_serve_a_growing_sequence) {
  constexpr unsigned kContext = 5 * kChunkPositions + 7;
  std::vector<unsigned> kinds;
  for (unsigned seen = 1; seen <= kContext; ++seen) {
    const unsigned positions = cuda::launched_positions(seen, kContext);
    CHECK(positions >= seen);
    if (kinds.empty() || kinds.back() != positions) kinds.push_back(positions);
  }
  CHECK(kinds == (std::vector<unsigned>{kChunkPositions, 2 * kChunkPositions, 4 * kChunkPositions, kContext}));
  CHECK_EQ(cuda::launched_positions(1, 5), 5u);
}

TEST(every_width_of_heads) {
  Random random(32);
  for (const uint32_t head_dim : {2u, 6u, 16u, 24u, 32u, 50u, 72u, 80u, 96u, 128u, 256u}) {
    check(random, {.heads = 2, .kv_heads = 1, .head_dim = head_dim, .context = 256}, {0, 40, 160});
  }
  check(random, {.heads = 1, .kv_heads = 1, .head_dim = 512, .context = 150}, {140});
}

TEST(every_sharing_of_keys) {
  Random random(33);
  for (const uint32_t group : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 11u}) {
    check(random, {.heads = 2 * group, .kv_heads = 2, .head_dim = 32, .context = 200}, {17, 130});
  }
}

TEST(heads_may_turn_in_part) {
  Random random(34);
  for (const RopePairs pairs : {RopePairs::adjacent, RopePairs::halves}) {
    for (const uint32_t dims : {0u, 2u, 16u, 30u, 32u}) {
      check(random, {.heads = 2, .kv_heads = 1, .head_dim = 32, .rope_dims = dims, .rope_pairs = pairs, .context = 64},
            {63, 5});
    }
  }
}

// Slots take turns; and a scratch for fewer rows than the step has.
TEST(rows_of_one_slot_see_each_other) {
  Random random(35);
  AttentionSizes sizes{.heads = 2, .kv_heads = 1, .head_dim = 64, .context = 140, .slots = 1};
  for (const unsigned at_a_time : {1u, 3u, 16u}) check(random, sizes, {125, 126, 127, 128, 129}, at_a_time);
  sizes.slots = 2;
  check(random, sizes, {0, 127, 1, 128, 2, 129}, 4);
}

TEST(what_a_card_cannot_take_is_refused) {
  CHECK_THROWS(cuda::check_attention(63, 100), ErrorCode::unsupported);
  CHECK_THROWS(cuda::check_attention(514, 100), ErrorCode::unsupported);
  CHECK_THROWS(cuda::check_attention(64, 65535 * 128 + 1), ErrorCode::unsupported);
  cuda::check_attention(512, 65535 * 128);
}

TEST(a_block_fits_every_card) {
  for (unsigned head_dim = 2; head_dim <= cuda::kMostHeadDim; head_dim += 2) {
    CHECK(cuda::chunk_memory_bytes(cuda::kMostHeadsOfBlock, head_dim) <= 48 << 10);
  }
}

}  // namespace
}  // namespace thermocline
