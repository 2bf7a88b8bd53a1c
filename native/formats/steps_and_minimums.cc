#include "steps_and_minimums.h"

#include <algorithm>
#include <cmath>

#include "../kernels/half.h"
#include "lanes.h"
#include "rows.h"

namespace thermocline::formats {
namespace {

constexpr float kMostPacked = 63;  // of six bits

// Four parts as weighted least squares sees them.
struct Elements {
  Lanes x[kPart];
  Lanes weights[kPart];
  Lanes least, most, weight_sum, weighted_sum;

  explicit Elements(const float* from) {
    spread(from, x);
    Lanes squares = x[0] * x[0];
    for (size_t i = 1; i < kPart; ++i) squares += x[i] * x[i];
    // Large elements count more, by as much as they exceed the part's root mean square.
    Lanes root_mean_square;
    for (size_t p = 0; p < kLanes; ++p) root_mean_square[p] = std::sqrt(squares[p] / kPart);
    for (size_t i = 0; i < kPart; ++i) weights[i] = root_mean_square + magnitude(x[i]);
    least = most = x[0];
    weight_sum = weights[0];
    weighted_sum = weights[0] * x[0];
    for (size_t i = 1; i < kPart; ++i) {
      least = select(x[i] < least, x[i], least);
      most = select(x[i] > most, x[i], most);
      weight_sum += weights[i];
      weighted_sum += weights[i] * x[i];
    }
    // Quants start at the minimum, which is stored as a number to subtract.
    least = select(least > all_lanes(0), all_lanes(0), least);
  }
};

// The line that four parts' quants stand on: x is about step * quant + origin.
struct Line {
  Lanes step;
  Lanes origin;
};

// Quants are the nearest to (x - origin) * density.
struct Grid {
  Lanes density;
  Lanes origin;

  Lanes quant(Lanes x, int most) const { return nearest_within(density * (x - origin), 0, static_cast<float>(most)); }
};

Lanes squared_error(const Elements& part, const Grid& grid, const Line& line, int most) {
  Lanes error = all_lanes(0);
  for (size_t i = 0; i < kPart; ++i) {
    const Lanes off = line.step * grid.quant(part.x[i], most) + line.origin - part.x[i];
    error += part.weights[i] * (off * off);
  }
  return error;
}

// The quants of a grid, and the line that fits them best with an origin that is not positive. `fits` is false where
// all elements have the same quant.
struct Fit {
  Lanes quants[kPart];
  Line line;
  LaneMask fits;

  Fit(const Elements& part, const Grid& grid, int most) {
    Lanes sum = all_lanes(0), squares = all_lanes(0), products = all_lanes(0);
    for (size_t i = 0; i < kPart; ++i) {
      quants[i] = grid.quant(part.x[i], most);
      const Lanes weighted = part.weights[i] * quants[i];
      sum += weighted;
      squares += weighted * quants[i];
      products += weighted * part.x[i];
    }
    const Lanes determinant = part.weight_sum * squares - sum * sum;
    fits = determinant > all_lanes(0);
    line.step = (part.weight_sum * products - part.weighted_sum * sum) / determinant;
    line.origin = (squares * part.weighted_sum - sum * products) / determinant;
    const LaneMask above = line.origin > all_lanes(0);
    line.origin = select(above, all_lanes(0), line.origin);
    line.step = select(above, products / squares, line.step);
  }

  Lanes squared_error(const Elements& part) const {
    Lanes error = all_lanes(0);
    for (size_t i = 0; i < kPart; ++i) {
      const Lanes off = line.step * quants[i] + line.origin - part.x[i];
      error += part.weights[i] * (off * off);
    }
    return error;
  }
};

struct Parts {
  float step[kParts];
  float minimum[kParts];
};

// Parts `first` to `first + 3`: their steps, minimums and quants.
void fit_parts(const float* x, const StepSearch& search, size_t first, Parts& parts,
               uint8_t (&quants)[kSuperBlock]) {
  const Elements part(x + first * kPart);
  const auto most = static_cast<float>(search.most);
  Grid best{all_lanes(most) / (part.most - part.least), part.least};
  Line line{all_lanes(1) / best.density, part.least};
  // Parts of one value, or of values so close that their density overflows.
  const LaneMask flat = ~(best.density < all_lanes(__builtin_inff()));
  Lanes least_error = squared_error(part, best, line, search.most);
  for (int i = 0; i < search.tries; ++i) {
    // What was found best moves the origin of all later tries.
    const float counts = search.first + search.by * static_cast<float>(i) + most;
    const Grid grid{all_lanes(counts) / (part.most - line.origin), line.origin};
    const Fit fit(part, grid, search.most);
    const Lanes error = fit.squared_error(part);
    const LaneMask better = fit.fits & (error < least_error);
    least_error = select(better, error, least_error);
    best.density = select(better, grid.density, best.density);
    best.origin = select(better, grid.origin, best.origin);
    line.step = select(better, fit.line.step, line.step);
    line.origin = select(better, fit.line.origin, line.origin);
  }
  const Lanes zero = all_lanes(0);
  const Lanes step = select(flat, zero, line.step);
  const Lanes minimum = select(flat, -part.least, -line.origin);
  for (size_t p = 0; p < kLanes; ++p) {
    parts.step[first + p] = step[p];
    parts.minimum[first + p] = minimum[p];
  }
  for (size_t i = 0; i < kPart; ++i) {
    const Lanes quant = select(flat, zero, best.quant(part.x[i], search.most));
    for (size_t p = 0; p < kLanes; ++p) quants[(first + p) * kPart + i] = static_cast<uint8_t>(quant[p]);
  }
}

// Six-bit numbers of the largest of eight, at least 0.
struct Packable {
  float unit;  // of which the largest is 63
  uint8_t counts[kParts];

  explicit Packable(const float (&values)[kParts]) {
    float largest = 0;
    for (const float value : values) largest = std::max(largest, value);
    unit = largest / kMostPacked;
    const float inverse = largest > 0 ? kMostPacked / largest : 0;
    for (size_t p = 0; p < kParts; ++p) {
      counts[p] = static_cast<uint8_t>(nearest_within(all_lanes(inverse * values[p]), 0, kMostPacked)[0]);
    }
  }
};

// Bytes 0 to 3 and 4 to 7 hold the first four scales and minimums in their lower six bits, and in their upper two bits
// the upper two of the last four, whose lower four bits share bytes 8 to 11.
void pack(const Packable& scales, const Packable& minimums, uint8_t* packed) {
  for (size_t p = 0; p < kParts / 2; ++p) {
    const uint8_t scale = scales.counts[p + 4];
    const uint8_t minimum = minimums.counts[p + 4];
    packed[p] = static_cast<uint8_t>(scales.counts[p] | (scale >> 4) << 6);
    packed[p + 4] = static_cast<uint8_t>(minimums.counts[p] | (minimum >> 4) << 6);
    packed[p + 8] = static_cast<uint8_t>((scale & 0x0f) | (minimum & 0x0f) << 4);
  }
}

// Quants once more, with the step and the minimum that the block really stores.
void requantize(const float* x, const uint8_t* block, int most, uint8_t (&quants)[kSuperBlock]) {
  for (size_t p = 0; p < kParts; ++p) {
    const auto [step, minimum] = part_of(block, p);
    if (step == 0) continue;
    for (size_t i = p * kPart; i < (p + 1) * kPart; i += kLanes) {
      const Lanes four{x[i], x[i + 1], x[i + 2], x[i + 3]};
      const Lanes nearest_quants =
          nearest_within((four + all_lanes(minimum)) / all_lanes(step), 0, static_cast<float>(most));
      for (size_t k = 0; k < kLanes; ++k) quants[i + k] = static_cast<uint8_t>(nearest_quants[k]);
    }
  }
}

}  // namespace

void fit_block(const float* x, const StepSearch& search, uint8_t* block, uint8_t (&quants)[kSuperBlock]) {
  Parts parts;
  for (size_t first = 0; first < kParts; first += kLanes) fit_parts(x, search, first, parts, quants);
  const Packable steps(parts.step);
  const Packable minimums(parts.minimum);
  store16(to_f16(steps.unit), block + kStepAt);
  store16(to_f16(minimums.unit), block + kMinimumAt);
  pack(steps, minimums, block + kPackedAt);
  requantize(x, block, search.most, quants);
}

StepAndMinimum part_of(const uint8_t* block, size_t part) {
  const uint8_t* packed = block + kPackedAt;
  int scale, minimum;
  if (part < kParts / 2) {
    scale = packed[part] & 63;
    minimum = packed[part + 4] & 63;
  } else {
    scale = (packed[part + 4] & 0x0f) | (packed[part - 4] >> 6) << 4;
    minimum = packed[part + 4] >> 4 | (packed[part] >> 6) << 4;
  }
  return {from_f16(load16(block + kStepAt)) * static_cast<float>(scale),
          from_f16(load16(block + kMinimumAt)) * static_cast<float>(minimum)};
}

}  // namespace thermocline::formats
