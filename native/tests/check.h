// Tests as plain programs: TEST(name) { ... } registers a case, CHECK* ends the process at the first failure, and
// the one main() runs every case, or those whose name contains argv[1].
#pragma once

#include <cstdlib>
#include <iostream>
#include <string>
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

}  // namespace thermocline::test

#define TEST(name)                                                                  \
  static void name();                                                               \
  static const ::thermocline::test::Registration name##_registration{#name, &name}; \
  static void name()

#define CHECK(condition) \
  ((condition) ? void() : ::thermocline::test::fail(__FILE__, __LINE__, "CHECK(" #condition ")"))

#define CHECK_EQ(actual, expected)                                                                             \
  do {                                                                                                         \
    const auto& actual_ = (actual);                                                                            \
    const auto& expected_ = (expected);                                                                        \
    if (!(actual_ == expected_))                                                                               \
      ::thermocline::test::fail(__FILE__, __LINE__, #actual " is ", actual_, ", expected " #expected " = ", \
                                expected_);                                                                    \
  } while (false)

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
