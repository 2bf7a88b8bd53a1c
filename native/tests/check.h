// Tests as plain programs: TEST(name) { ... } registers a case, CHECK* ends the process at the first failure, and
// the one main() runs every case, or those whose name contains argv[1].
#pragma once

#include <cstdlib>
#include <iostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace thermocline::test {

struct Case {
  const char* name;
  void (*run)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
struct Registration {
  Registration(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

// Ends without destructors: a failing child of fork() must not touch what it shares with its parent.
template <class... Parts>
[[noreturn]] void fail(const char* file, int line, const Parts&... parts) {
  std::cerr << file << ':' << line << ": ";
  (std::cerr << ... << parts) << std::endl;
  std::_Exit(1);
}

template <class T>
decltype(auto) printable(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return static_cast<long long>(value);
  } else {
    return (value);
  }
}

template <class T>
constexpr bool is_number = std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>;

template <class A, class E>
bool equal(const A& actual, const E& expected) {
  if constexpr (is_number<A> && is_number<E>) {
    return std::cmp_equal(actual, expected);
  } else {
    return actual == expected;
  }
}

template <class A, class E>
void check_eq(const char* file, int line, const char* what, const char* wanted, const A& actual, const E& expected) {
  if (equal(actual, expected)) return;
  fail(file, line, what, " is ", printable(actual), ", expected ", wanted, " = ", printable(expected));
}

}  // namespace thermocline::test

#define TEST(name)                                                                  \
  static void name();                                                               \
  static const ::thermocline::test::Registration name##_registration{#name, &name}; \
  static void name()

#define CHECK(condition) \
  ((condition) ? void() : ::thermocline::test::fail(__FILE__, __LINE__, "CHECK(" #condition ")"))

// Integers of any type compare by value, enumerations print as numbers.
#define CHECK_EQ(actual, expected) \
  ::thermocline::test::check_eq(__FILE__, __LINE__, #actual, #expected, (actual), (expected))

// Checks that `expression` throws a thermocline::Error with this code.
#define CHECK_THROWS(expression, expected_code)                                                              \
  do {                                                                                                       \
    const char* thrown_ = "nothing";                                                                         \
    try {                                                                                                    \
      (void)(expression);                                                                                    \
    } catch (const ::thermocline::Error& error_) {                                                           \
      thrown_ = ::thermocline::name_of(error_.code());                                                       \
    }                                                                                                        \
    if (std::string(thrown_) != ::thermocline::name_of(expected_code))                                       \
      ::thermocline::test::fail(__FILE__, __LINE__, #expression " threw ", thrown_, ", expected ",           \
                                ::thermocline::name_of(expected_code));                                      \
  } while (false)

int main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  for (const auto& test : ::thermocline::test::cases()) {
    if (std::string(test.name).find(only) == std::string::npos) continue;
    std::cout << test.name << std::endl;
    test.run();
  }
}
