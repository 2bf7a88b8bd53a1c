// Something that runs beside a test: a process of its own, or a thread under ThreadSanitizer, which loses track of
// memory across fork().
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <new>
#include <thread>

#include "check.h"

namespace thermocline::test {

#if defined(__SANITIZE_THREAD__)

class Beside {
 public:
  explicit Beside(std::function<void()> work) : thread_(std::move(work)) {}
  void join() { thread_.join(); }

 private:
  std::thread thread_;
};

#else
#define THERMOCLINE_TESTS_CAN_FORK

class Beside {
 public:
  explicit Beside(const std::function<void()>& work) : pid_(fork()) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    std::_Exit(0);
  }
  // Checks that it ended well.
  void join() { CHECK_EQ(wait_status(), 0); }
  void kill() {
    ::kill(pid_, SIGKILL);
    CHECK_EQ(wait_status(), SIGKILL);
  }
  int wait_status() {
    int status = -1;
    CHECK_EQ(waitpid(pid_, &status, 0), pid_);
    return status;
  }

 private:
  pid_t pid_;
};

#endif

// A zeroed T that processes share.
template <class T>
class Shared {
 public:
  Shared() {
    void* memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    value_ = new (memory) T{};
  }
  ~Shared() { munmap(value_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

}  // namespace thermocline::test
