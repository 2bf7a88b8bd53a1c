// Attention on the CPU: against doubles at every edge of a chunk, and bits that no thread and no other row changes.
#include "attention_problem.h"

#include <cmath>

#include "../engine/attention_chunks.h"
#include "check.h"
#include "instruction_sets.h"

namespace thermocline {
namespace {

using namespace test;

const std::vector<int32_t> kPositions = {0, 1, 31, 126, 127, 128, 129, 255, 256, 257, 383, 384, 700};

// One head's attention in doubles, and how far floats may be from it.
struct Truth {
  std::vector<double> out, error;
};

Truth truth(const AttentionProblem& problem, const AttentionOnCpu& cpu, size_t row, size_t head) {
  const AttentionSizes& sizes = problem.sizes;
  const size_t dim = sizes.head_dim;
  const size_t seen = static_cast<size_t>(problem.rows[row].position) + 1;
  const size_t kv_head = head / (sizes.heads / sizes.kv_heads);
  const uint16_t* keys = cpu.keys(problem.rows[row], kv_head);
  const uint16_t* values = cpu.values(problem.rows[row], kv_head);
  const float* q = cpu.q.data() + (row * sizes.heads + head) * dim;
  std::vector<double> scores;
  double largest_terms = 0;
  for (size_t p = 0; p < seen; ++p) {
    double score = 0, terms = 0;
    for (size_t i = 0; i < dim; ++i) {
      const double product = static_cast<double>(q[i]) * from_f16(keys[p * dim + i]);
      score += product;
      terms += std::abs(product);
    }
    scores.push_back(score / std::sqrt(static_cast<double>(dim)));
    largest_terms = std::max(largest_terms, terms / std::sqrt(static_cast<double>(dim)));
  }
  const double highest = *std::max_element(scores.begin(), scores.end());
  const double spread = highest - *std::min_element(scores.begin(), scores.end());
  // A score: each product and addition of its lane, four halvings, the scale (itself two roundings) and the product
  // with it. A weight: the errors of its score and of its chunk's highest one, or of two chunks' highest, with as many
  // differences rounded, and two exponentials of four half units. Sums: a product and an addition for each position of
  // a chunk, then for each chunk; and the last rounding. The total, in f64, errs less.
  const double score_error = f32_error(2 * (static_cast<double>(dim) / 16 + 1) + 7) * largest_terms;
  const double weight_error = std::expm1(4 * score_error + 2 * spread * 0x1p-24) + f32_error(8);
  const double sum_error = f32_error(2.0 * kChunkPositions + 2.0 * static_cast<double>(chunks_of(seen)) + 1);
  Truth truth{std::vector<double>(dim), std::vector<double>(dim)};
  double total = 0;
  for (size_t p = 0; p < seen; ++p) {
    const double weight = std::exp(scores[p] - highest);
    total += weight;
    for (size_t i = 0; i < dim; ++i) {
      truth.out[i] += weight * from_f16(values[p * dim + i]);
      truth.error[i] += weight * std::abs(from_f16(values[p * dim + i]));
    }
  }
  for (size_t i = 0; i < dim; ++i) {
    truth.out[i] /= total;
    truth.error[i] *= 2.1 * (weight_error + sum_error) / total;  // of the sum, of the total, and both errors' product
  }
  return truth;
}

TEST(is_as_near_to_doubles_as_floats_allow) {
  Random random(21);
  for (const AttentionSizes& sizes : {AttentionSizes{4, 2, 64}, AttentionSizes{6, 2, 80, 40}, AttentionSizes{1, 1, 6},
                                      AttentionSizes{8, 1, 128}}) {
    const AttentionProblem problem(random, sizes, kPositions);
    for (const Kernels* kernels : instruction_sets()) {
      const AttentionOnCpu cpu(problem, *kernels);
      for (size_t row = 0; row < problem.rows.size(); ++row) {
        for (size_t head = 0; head < sizes.heads; ++head) {
          const Truth expected = truth(problem, cpu, row, head);
          for (size_t i = 0; i < sizes.head_dim; ++i) {
            const float actual = cpu.out[(row * sizes.heads + head) * sizes.head_dim + i];
            if (std::abs(actual - expected.out[i]) <= expected.error[i]) continue;
            fail(__FILE__, __LINE__, name_of(kernels->instruction_set), ", position ", problem.rows[row].position,
                 ", head ", head, ", column ", i, ": ", actual, " instead of ", expected.out[i]);
          }
        }
      }
    }
  }
}

TEST(instruction_sets_that_fuse_give_the_same_bits) {
  Random random(22);
  const AttentionProblem problem(random, {6, 2, 80}, kPositions);
  std::vector<std::vector<float>> all;
  for (const Kernels* kernels : instruction_sets()) {
    if (fuses(*kernels)) all.push_back(AttentionOnCpu(problem, *kernels).out);
  }
  for (const auto& out : all) CHECK(out == all.front());
}

TEST(threads_change_no_bit) {
  Random random(23);
  for (const std::vector<int32_t>& positions : {std::vector<int32_t>{700}, {5}, {257, 128}, kPositions}) {
    const AttentionProblem problem(random, {6, 2, 64}, positions);
    const AttentionOnCpu one(problem, best_kernels());
    for (const uint32_t threads : {2u, 3u, 8u, 40u}) {
      CHECK(AttentionOnCpu(problem, best_kernels(), threads).out == one.out);
    }
  }
}

TEST(other_rows_change_no_bit) {
  Random random(24);
  const AttentionProblem together(random, {4, 2, 64}, kPositions);
  const AttentionOnCpu all(together, best_kernels());
  const size_t size = all.out.size() / kPositions.size();
  for (size_t r = 0; r < kPositions.size(); ++r) {
    AttentionProblem alone = together;
    alone.cache.assign(all.cache(), all.cache() + alone.cache.size());  // with the other rows' keys
    const auto only = [&](std::vector<float>& numbers) {
      const size_t of_row = numbers.size() / kPositions.size();
      numbers = {numbers.begin() + static_cast<ptrdiff_t>(r * of_row),
                 numbers.begin() + static_cast<ptrdiff_t>((r + 1) * of_row)};
    };
    only(alone.q);
    only(alone.k);
    only(alone.v);
    alone.rows = {together.rows[r]};
    const AttentionOnCpu one(alone, best_kernels(), 3);
    CHECK(std::equal(one.out.begin(), one.out.end(), all.out.begin() + static_cast<ptrdiff_t>(r * size)));
  }
}

}  // namespace
}  // namespace thermocline
