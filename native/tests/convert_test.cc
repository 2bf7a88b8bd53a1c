// Rows from format to format, and what is refused.
#include "../formats/convert.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "../error.h"
#include "../formats/formats.h"
#include "check.h"
#include "weight_samples.h"

namespace thermocline {
namespace {

using namespace test;

const std::atomic<bool> kGoOn{false};

std::vector<uint8_t> bytes_of(const std::vector<float>& x) {
  std::vector<uint8_t> bytes(x.size() * sizeof(float));
  std::memcpy(bytes.data(), x.data(), bytes.size());
  return bytes;
}

TEST(every_format_becomes_every_other_by_way_of_f32) {
  Random random(1);
  constexpr size_t kRows = 3, kCols = 2 * kSuperBlock;
  std::vector<float> x(kRows * kCols);
  for (float& element : x) element = random_normal(random);
  for (const WeightType from : kWeightFormats) {
    const std::vector<uint8_t> source = convert_rows(WeightType::f32, from, kCols, bytes_of(x), kGoOn);
    CHECK_EQ(source.size(), kRows * row_bytes(from, kCols));
    std::vector<float> elements(kRows * kCols);
    dequantize_row(from, source.data(), elements.data(), elements.size());
    for (const WeightType to : kWeightFormats) {
      std::vector<uint8_t> expected(kRows * row_bytes(to, kCols));
      quantize_row(to, elements.data(), expected.data(), elements.size());
      CHECK(convert_rows(from, to, kCols, source, kGoOn) == (from == to ? source : expected));
    }
  }
}

TEST(columns_are_whole_blocks) {
  for (const WeightType type : kWeightFormats) {
    const size_t block = block_elements(type);
    for (size_t cols : {size_t{0}, block / 2, block - 1, block + 1, 2 * block - 1}) {
      if (cols != 0 && cols % block == 0) continue;
      const std::vector<uint8_t> row(4 * cols);
      CHECK_THROWS(convert_rows(WeightType::f32, type, cols, row, kGoOn), ErrorCode::invalid_argument);
      CHECK_THROWS(convert_rows(type, WeightType::f32, cols, row, kGoOn), ErrorCode::invalid_argument);
    }
  }
}

TEST(sources_are_whole_rows) {
  for (const WeightType type : kWeightFormats) {
    const size_t bytes = row_bytes(type, kSuperBlock);
    for (const size_t length : {size_t{1}, bytes - 1, bytes + 1}) {
      const std::vector<uint8_t> source(length);
      CHECK_THROWS(convert_rows(type, WeightType::f16, kSuperBlock, source, kGoOn), ErrorCode::invalid_argument);
    }
    CHECK(convert_rows(type, WeightType::f16, kSuperBlock, {}, kGoOn).empty());
  }
}

TEST(elements_that_are_no_numbers_are_refused_wherever_they_are) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const WeightType to : kWeightFormats) {
    for (const float bad : {nan, -nan, infinity, -infinity}) {
      for (size_t at = 0; at < 2 * kSuperBlock; at += 37) {
        std::vector<float> x(2 * kSuperBlock, 0.5f);
        x[at] = bad;
        CHECK_THROWS(convert_rows(WeightType::f32, to, kSuperBlock, bytes_of(x), kGoOn), ErrorCode::corrupt);
      }
    }
  }
  // A block whose scale is an infinite half.
  std::vector<uint8_t> row(row_bytes(WeightType::q8_0, kBlock), 1);
  row[0] = 0x00, row[1] = 0x7c;
  CHECK_THROWS(convert_rows(WeightType::q8_0, WeightType::f32, kBlock, row, kGoOn), ErrorCode::corrupt);
  CHECK_THROWS(convert_rows(WeightType::q8_0, WeightType::q8_0, kBlock, row, kGoOn), ErrorCode::corrupt);
}

TEST(elements_beyond_a_formats_reach_are_refused) {
  for (const WeightType to : kWeightFormats) {
    if (to == WeightType::f32) continue;
    std::vector<float> x(kSuperBlock, -reach(to));
    (void)convert_rows(WeightType::f32, to, kSuperBlock, bytes_of(x), kGoOn);
    x[kSuperBlock - 1] = std::nextafter(reach(to), std::numeric_limits<float>::infinity());
    CHECK_THROWS(convert_rows(WeightType::f32, to, kSuperBlock, bytes_of(x), kGoOn), ErrorCode::invalid_argument);
  }
}

TEST(a_conversion_ends_when_told_to) {
  const std::atomic<bool> stop{true};
  const std::vector<uint8_t> row(row_bytes(WeightType::f16, kSuperBlock));
  CHECK_THROWS(convert_rows(WeightType::f16, WeightType::q4_k, kSuperBlock, row, stop), ErrorCode::cancelled);
}

}  // namespace
}  // namespace thermocline
