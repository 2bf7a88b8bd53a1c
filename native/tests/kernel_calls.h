// Calls of kernels with rows, activations and results at any address, and a watch on what they must leave alone.
#pragma once

#include "placed.h"
#include "products.h"

namespace thermocline::test {

// Rows, each at a misalignment of its own.
class PlacedRows {
 public:
  explicit PlacedRows(const std::vector<Bytes>& rows, size_t misalignment = 0) {
    for (size_t r = 0; r < rows.size(); ++r) {
      placed_.emplace_back(rows[r].data(), rows[r].size(), (misalignment + r) % kMisalignments);
      pointers_.push_back(placed_.back().as<std::byte>());
    }
  }
  const std::byte* const* data() const { return pointers_.data(); }
  size_t count() const { return pointers_.size(); }

 private:
  std::vector<Placed> placed_;
  std::vector<const std::byte*> pointers_;
};

// Rows of activations, `gap` bytes apart.
class PlacedActivations {
 public:
  explicit PlacedActivations(const std::vector<Bytes>& xs, size_t gap = 0, size_t misalignment = 0)
      : stride_((xs.empty() ? 0 : xs[0].size()) + gap), count_(xs.size()), placed_(joined(xs, gap, misalignment)) {}
  operator Activations() { return {placed_.as<void>(), stride_, count_}; }

 private:
  static Placed joined(const std::vector<Bytes>& xs, size_t gap, size_t misalignment) {
    Bytes all;
    for (const Bytes& x : xs) {
      if (!all.empty()) all.resize(all.size() + gap, 0xff);
      all.insert(all.end(), x.begin(), x.end());
    }
    return {all.data(), all.size(), misalignment};
  }

  size_t stride_, count_;
  Placed placed_;
};

// What a call writes or adds to: `columns` times `rows` numbers, `stride` apart.
template <typename Number>
class Output {
 public:
  Output(size_t rows, size_t columns, size_t stride, size_t misalignment = 0)
      : stride_(stride), before_(columns == 0 ? 0 : (columns - 1) * stride + rows) {
    for (size_t i = 0; i < before_.size(); ++i) before_[i] = static_cast<Number>(1000 + i);
    expected_ = before_;
    place(misalignment);
  }
  // With the same expectations.
  Output unwritten(size_t misalignment = 0) const {
    Output other(stride_, before_, expected_);
    other.place(misalignment);
    return other;
  }
  Number* data() { return placed_.front().template as<Number>(); }
  size_t stride() const { return stride_; }

  // Says what the call's product is of row `row` and activation `column`.
  void expect(size_t row, size_t column, Number product) {
    Number& y = expected_[column * stride_ + row];
    if (is_f64<Number>) {
      y += product;
    } else {
      y = product;
    }
  }
  // Everything is as expected, and all else untouched.
  bool right() const { return placed_.front().holds(expected_.data()) && placed_.front().guards_intact(); }

 private:
  Output(size_t stride, std::vector<Number> before, std::vector<Number> expected)
      : stride_(stride), before_(std::move(before)), expected_(std::move(expected)) {}
  void place(size_t misalignment) {
    placed_.emplace_back(before_.data(), before_.size() * sizeof(Number), misalignment);
  }

  size_t stride_;
  std::vector<Number> before_, expected_;
  std::vector<Placed> placed_;
};

template <typename Number>
auto rows_kernel(const Kernels& kernels, WeightType type) {
  if constexpr (is_f64<Number>) {
    return kernels.add_rows_f64[index_of(type)];
  } else {
    return kernels.multiply_rows[index_of(type)];
  }
}

template <typename Number>
auto panels_kernel(const Kernels& kernels, WeightType type) {
  if constexpr (is_f64<Number>) {
    return kernels.add_panels_f64[index_of(type)];
  } else {
    return kernels.multiply_panels[index_of(type)];
  }
}

// [xs × rows] products, each from a call of its own.
template <typename Number>
std::vector<Number> products(const Kernels& kernels, WeightType type, const std::vector<Bytes>& rows,
                             const std::vector<Bytes>& xs, size_t cols) {
  std::vector<Number> all;
  for (const Bytes& x : xs) {
    for (const Bytes& row : rows) {
      Number y = 0;
      const auto* data = reinterpret_cast<const std::byte*>(row.data());
      rows_kernel<Number>(kernels, type)(&data, 1, {x.data(), x.size(), 1}, cols, &y, 1);
      all.push_back(y);
    }
  }
  return all;
}

// Rows as panels of sixteen; the last may lack some.
inline std::vector<Bytes> packed(WeightType type, const std::vector<Bytes>& rows, size_t cols) {
  std::vector<Bytes> panels;
  for (size_t first = 0; first < rows.size(); first += kPanelRows) {
    std::vector<const std::byte*> some;
    for (size_t r = first; r < rows.size() && r < first + kPanelRows; ++r) {
      some.push_back(reinterpret_cast<const std::byte*>(rows[r].data()));
    }
    Bytes panel(kPanelRows * row_bytes(type, cols), 0xff);
    pack_panel(type, some.data(), some.size(), cols, reinterpret_cast<std::byte*>(panel.data()));
    panels.push_back(std::move(panel));
  }
  return panels;
}

}  // namespace thermocline::test
