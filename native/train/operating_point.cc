#include "operating_point.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace thermocline {
namespace {

// 256 rows of 11008 logits take 11 MB.
constexpr size_t kBatch = 256;
// Storing shifts the recall by less every time.
constexpr int kAttempts = 5;
// Of the recall: near enough, and how far above the target the next attempt aims.
constexpr double kNear = 0.0005, kBeyond = 0.0001;

// Calls visit(first, rows, hidden, logits) for batches of rows.
template <class Visit>
void for_batches(Gemm& gemm, const Network& network, const ActivationRows& rows, WeightType type, const Visit& visit) {
  std::vector<float> x(kBatch * rows.embd), hidden(kBatch * network.rank), logits(kBatch * network.ff);
  for (size_t first = 0; first < rows.count; first += kBatch) {
    const size_t count = std::min(kBatch, rows.count - first);
    std::copy_n(rows.input(first), count * rows.embd, x.data());
    round_activations(type, x.data(), count, rows.embd);
    compute_hidden(gemm, network, x.data(), count, hidden.data());
    round_activations(type, hidden.data(), count, network.rank);
    compute_logits(gemm, network, hidden.data(), count, logits.data());
    visit(first, count, hidden.data(), logits.data());
  }
}

// For each pair that fires, the margin from which on it is found.
std::vector<float> needed_margins(Gemm& gemm, const Network& network, const std::vector<float>& unit,
                                  const std::vector<float>& scales, WeightType type, const ActivationRows& rows) {
  std::vector<float> margins;
  for_batches(gemm, network, rows, type, [&](size_t first, size_t count, const float* hidden, const float* logits) {
    for (size_t row = 0; row < count; ++row) {
      float one = 0;
      for (size_t k = 0; k < network.rank; ++k) one += unit[k] * hidden[row * network.rank + k];
      for (size_t n = 0; n < network.ff; ++n) {
        if (!rows.fires(first + row, n)) continue;
        const float logit = logits[row * network.ff + n], step = one * scales[n];
        const float beyond = logit >= 0 ? -HUGE_VALF : HUGE_VALF;
        margins.push_back(step > 0 ? -logit / step : beyond);
      }
    }
  });
  return margins;
}

float quantile(std::vector<float>& values, double share) {
  const auto last = static_cast<double>(values.size() - 1);
  const auto at = static_cast<std::ptrdiff_t>(std::min(last, std::ceil(share * static_cast<double>(values.size()))));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  // A row whose unit is 0 no margin helps.
  return std::clamp(values[static_cast<size_t>(at)], -1e6f, 1e6f);
}

}  // namespace

Confusion evaluate(Gemm& gemm, const Network& network, const ActivationRows& rows, WeightType type) {
  Confusion confusion{rows.count, 0, 0, 0};
  for_batches(gemm, network, rows, type, [&](size_t first, size_t count, const float*, const float* logits) {
    for (size_t row = 0; row < count; ++row) {
      const uint64_t* fired = rows.fired_set(first + row);
      for (size_t word = 0; word < rows.words(); ++word) {
        uint64_t predicted = 0;
        const size_t neurons = std::min<size_t>(64, network.ff - word * 64);
        for (size_t n = 0; n < neurons; ++n) {
          predicted |= uint64_t{logits[row * network.ff + word * 64 + n] >= 0} << n;
        }
        confusion.fired += static_cast<uint64_t>(std::popcount(fired[word]));
        confusion.predicted += static_cast<uint64_t>(std::popcount(predicted));
        confusion.found += static_cast<uint64_t>(std::popcount(predicted & fired[word]));
      }
    }
  });
  return confusion;
}

OperatingPoint fold_margin(Gemm& gemm, const Network& network, const std::vector<float>& unit,
                           const std::vector<float>& scales, WeightType type, const ActivationRows& calibration,
                           double recall) {
  std::vector<float> margins = needed_margins(gemm, network, unit, scales, type, calibration);
  OperatingPoint best{};
  double asked = recall;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const float margin = margins.empty() ? 0 : quantile(margins, asked);
    Network moved = network;
    for (size_t n = 0; n < network.ff; ++n) {
      for (size_t k = 0; k < network.rank; ++k) moved.fc2[n * network.rank + k] += margin * scales[n] * unit[k];
    }
    StoredNetwork stored = store_network(moved, type);
    const Confusion found = evaluate(gemm, stored.network, calibration, type);
    const bool meets = found.recall() >= recall, best_meets = best.calibration.recall() >= recall;
    if (attempt == 0 || (meets && (!best_meets || found.predicted < best.calibration.predicted)) ||
        (!best_meets && found.recall() > best.calibration.recall())) {
      best = {std::move(stored), found};
    }
    const double lacking = recall - found.recall();
    if (lacking <= 0 && lacking > -kNear) break;
    asked = std::clamp(asked + lacking + kBeyond, 0.0, 1.0);
  }
  return best;
}

}  // namespace thermocline
