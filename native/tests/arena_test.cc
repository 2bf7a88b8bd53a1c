#include "../arena/arena.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "../arena/layout.h"
#include "beside.h"

namespace thermocline {
namespace {

using test::Beside;
using test::Shared;

constexpr int64_t kLong = 60'000'000'000;
constexpr ArenaOptions kSmall{.executors = 2, .layers = 3, .embd = 8, .ff = 100, .vocab = 50, .max_rows = 4,
                              .max_logit_rows = 2};

WaitLimits limits(Arena& arena) { return {monotonic_ns() + kLong, 0, &arena.abort_flag()}; }

std::string path_of(const Arena& arena) { return "/dev/shm/" + arena.name(); }

bool has_file(const std::string& path) {
  struct stat file {};
  return stat(path.c_str(), &file) == 0;
}

std::string argument_of(const auto& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.argument();
  }
  return "(nothing thrown)";
}

TEST(create_and_attach_share_every_region) {
  const auto creator = Arena::create(kSmall);
  const auto other = Arena::attach(creator->name(), creator->epoch());
  CHECK_EQ(other->bytes(), creator->bytes());
  CHECK_EQ(other->options().ff, kSmall.ff);
  creator->ffn_input()[4 * 8 - 1] = 1;
  creator->active_set()[4 * 2 - 1] = 2;
  creator->partial_sum(0)[4 * 8 - 1] = 3 + 0x1p-50;  // f64: no float holds it
  creator->partial_sum(1)[4 * 8 - 1] = 4;
  creator->residual()[4 * 8 - 1] = 5;
  creator->logits()[2 * 50 - 1] = 6;
  CHECK_EQ(other->ffn_input()[4 * 8 - 1], 1);
  CHECK_EQ(other->active_set()[4 * 2 - 1], 2);
  CHECK_EQ(other->partial_sum(0)[4 * 8 - 1], 3 + 0x1p-50);
  CHECK_EQ(other->partial_sum(1)[4 * 8 - 1], 4);
  CHECK_EQ(other->residual()[4 * 8 - 1], 5);
  CHECK_EQ(other->logits()[2 * 50 - 1], 6);
}

template <class T>
bool all_are(const T* region, size_t count, T value) {
  return std::count(region, region + count, value) == static_cast<std::ptrdiff_t>(count);
}

TEST(regions_do_not_overlap) {
  ArenaOptions options = kSmall;
  options.embd = options.vocab = 1024;  // whole pages: no gap forgives a region that is too small
  options.ff = 1 << 15;
  const auto arena = Arena::create(options);
  constexpr size_t kActivations = 4 * 1024, kWords = 4 * (1 << 15) / 64, kLogits = 2 * 1024;
  std::fill_n(arena->ffn_input(), kActivations, 1.0f);
  std::fill_n(arena->active_set(), kWords, uint64_t{2});
  std::fill_n(arena->partial_sum(0), kActivations, 3.0);
  std::fill_n(arena->partial_sum(1), kActivations, 4.0);
  std::fill_n(arena->residual(), kActivations, 5.0f);
  std::fill_n(arena->logits(), kLogits, 6.0f);
  CHECK(all_are(arena->ffn_input(), kActivations, 1.0f));
  CHECK(all_are(arena->active_set(), kWords, uint64_t{2}));
  CHECK(all_are(arena->partial_sum(0), kActivations, 3.0));
  CHECK(all_are(arena->partial_sum(1), kActivations, 4.0));
  CHECK(all_are(arena->residual(), kActivations, 5.0f));
  CHECK(all_are(arena->logits(), kLogits, 6.0f));
}

TEST(the_file_is_private_and_goes_with_its_creator) {
  std::string path;
  {
    const auto arena = Arena::create(kSmall);
    path = path_of(*arena);
    struct stat file {};
    CHECK_EQ(stat(path.c_str(), &file), 0);
    CHECK_EQ(file.st_mode & 0777, 0600);
    Arena::attach(arena->name(), arena->epoch());
    CHECK(has_file(path));
  }
  CHECK(!has_file(path));
}

TEST(unlink_is_idempotent_and_ends_attaching) {
  const auto arena = Arena::create(kSmall);
  const auto other = Arena::attach(arena->name(), arena->epoch());
  arena->unlink();
  arena->unlink();
  CHECK(!has_file(path_of(*arena)));
  CHECK_THROWS(Arena::attach(arena->name(), arena->epoch()), ErrorCode::not_found);
  arena->residual()[0] = 7;
  CHECK_EQ(other->residual()[0], 7);
}

TEST(options_out_of_range) {
  for (const auto field : {&ArenaOptions::executors, &ArenaOptions::layers, &ArenaOptions::embd, &ArenaOptions::ff,
                           &ArenaOptions::vocab, &ArenaOptions::max_rows, &ArenaOptions::max_logit_rows}) {
    for (const uint32_t value : {uint32_t{0}, UINT32_MAX}) {
      ArenaOptions options = kSmall;
      options.*field = value;
      CHECK_THROWS(Arena::create(options), ErrorCode::invalid_argument);
    }
  }
  ArenaOptions options = kSmall;
  options.max_logit_rows = options.max_rows + 1;
  CHECK_EQ(argument_of([&] { Arena::create(options); }), "options.maxLogitRows");
}

TEST(observations_have_room_only_where_asked_for) {
  ArenaOptions options = kSmall;
  const StepRow row{1, 0, 0, 0};
  const auto none = Arena::create(options);
  CHECK_EQ(argument_of([&] { none->fired_counts(0); }), "options.observation");
  CHECK_EQ(argument_of([&] { none->submit(&row, 1, true); }), "observed");
  options.observation = Observation::counts;
  const auto counts = Arena::create(options);
  counts->fired_strengths(2)[99] = 1;
  CHECK_EQ(argument_of([&] { counts->fired_counts(3); }), "layer");
  CHECK_EQ(argument_of([&] { counts->fired_set(0, 0); }), "options.observation");
  options.observation = Observation::activations;
  const auto activations = Arena::create(options);
  const auto other = Arena::attach(activations->name(), activations->epoch());
  activations->fired_counts(2)[99] = 1;
  activations->fired_strengths(2)[99] = 2;
  activations->predictor_input(2)[4 * 8 - 1] = 3;
  activations->fired_set(0, 2)[4 * 2 - 1] = 4;
  CHECK_EQ(other->fired_counts(2)[99], 1u);
  CHECK_EQ(other->fired_strengths(2)[99], 2);
  CHECK_EQ(other->predictor_input(2)[4 * 8 - 1], 3);
  CHECK_EQ(other->fired_set(0, 2)[4 * 2 - 1], 4u);
  CHECK(!other->step().observed);
  activations->submit(&row, 1, true);
  CHECK(other->step().observed);
  options.observation = static_cast<Observation>(3);
  CHECK_EQ(argument_of([&] { Arena::create(options); }), "options.observation");
}

TEST(more_than_the_machine_has_is_out_of_memory) {
  ArenaOptions options = kSmall;
  options.max_rows = options.max_logit_rows = 1 << 16;
  options.vocab = 1 << 24;
  CHECK_THROWS(Arena::create(options), ErrorCode::out_of_memory);
}

TEST(attach_checks_what_it_finds) {
  CHECK_THROWS(Arena::attach("thermocline-0-0", 1), ErrorCode::not_found);
  CHECK_THROWS(Arena::attach("../../etc/passwd", 1), ErrorCode::invalid_argument);
  CHECK_THROWS(Arena::attach("something-else", 1), ErrorCode::invalid_argument);

  const auto arena = Arena::create(kSmall);
  const auto attach = [&] { return Arena::attach(arena->name(), arena->epoch()); };
  CHECK_THROWS(Arena::attach(arena->name(), arena->epoch() + 1), ErrorCode::corrupt);

  const int file = open(path_of(*arena).c_str(), O_RDWR);
  ArenaHeader good;
  CHECK_EQ(pread(file, &good, sizeof(good), 0), static_cast<ssize_t>(sizeof(good)));
  const auto with = [&](const auto& change) {
    ArenaHeader header = good;
    change(header);
    CHECK_EQ(pwrite(file, &header, sizeof(header), 0), static_cast<ssize_t>(sizeof(header)));
  };
  with([](ArenaHeader& header) { header.magic ^= 1; });
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  with([](ArenaHeader& header) { ++header.version; });
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  with([](ArenaHeader& header) { header.options.executors = 0; });
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  with([](ArenaHeader& header) { ++header.options.layers; });
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  with([](ArenaHeader& header) { header.layout.logits += 4096; });
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  with([](ArenaHeader&) {});
  attach();
  CHECK_EQ(ftruncate(file, static_cast<off_t>(arena->bytes()) - 1), 0);
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  CHECK_EQ(ftruncate(file, 10), 0);
  CHECK_THROWS(attach(), ErrorCode::corrupt);
  close(file);
}

TEST(steps_reach_the_executor) {
  const auto arena = Arena::create(kSmall);
  Beside executor([&] {
    for (uint64_t number = 1; number <= 100; ++number) {
      CHECK(arena->submitted().wait(number, limits(*arena)) == WaitResult::reached);
      const Step step = arena->step();
      CHECK_EQ(step.number, number);
      CHECK_EQ(step.rows, 1 + number % 4);
      CHECK_EQ(step.row[step.rows - 1].position, static_cast<int32_t>(number));
      arena->logits()[0] = static_cast<float>(number);
      arena->completed().signal(number);
    }
  });
  for (int32_t number = 1; number <= 100; ++number) {
    const StepRow row{.token = 49, .position = number, .slot = 0, .wants_logits = 0};
    const StepRow rows[] = {row, row, row, row};
    CHECK_EQ(arena->submit(rows, 1 + static_cast<uint32_t>(number) % 4), static_cast<uint64_t>(number));
    CHECK(arena->completed().wait(static_cast<uint64_t>(number), limits(*arena)) == WaitResult::reached);
    CHECK_EQ(arena->logits()[0], static_cast<float>(number));
  }
  executor.join();
}

TEST(bad_steps_name_their_fault) {
  const auto arena = Arena::create(kSmall);
  const StepRow good{.token = 0, .position = 0, .slot = 0, .wants_logits = 1};
  const StepRow many[] = {good, good, good, good, good};
  const auto argument = [&](uint32_t count) { return argument_of([&] { arena->submit(many, count); }); };
  CHECK_EQ(argument(0), "rows");
  CHECK_EQ(argument(5), "rows");
  CHECK_EQ(argument(3), "rows");  // three want logits
  const auto second = [&](StepRow row) {
    const StepRow rows[] = {good, row};
    CHECK_THROWS(arena->submit(rows, 2), ErrorCode::invalid_argument);
    return argument_of([&] { arena->submit(rows, 2); });
  };
  CHECK_EQ(second({50, 0, 0, 0}), "rows[1].token");
  CHECK_EQ(second({-1, 0, 0, 0}), "rows[1].token");
  CHECK_EQ(second({0, -1, 0, 0}), "rows[1].position");
  CHECK_EQ(second({0, 0, -1, 0}), "rows[1].slot");
  CHECK_EQ(second({0, 0, 0, 2}), "rows[1].wantsLogits");
  CHECK_EQ(arena->submitted().value(), 0);
  arena->submit(many, 1);
  CHECK_THROWS(arena->submit(many, 1), ErrorCode::invalid_argument);
}

TEST(executors_out_of_range) {
  const auto arena = Arena::create(kSmall);
  CHECK_THROWS(arena->progress(2), ErrorCode::invalid_argument);
  CHECK_THROWS(arena->partial_sum(2), ErrorCode::invalid_argument);
  CHECK_THROWS(arena->ring(2), ErrorCode::invalid_argument);
}

TEST(the_first_failure_stays) {
  const auto arena = Arena::create(kSmall);
  CHECK(!arena->aborted());
  CHECK(!arena->failure());
  arena->fail({1, ErrorCode::out_of_memory, "no room"});
  arena->fail({-1, ErrorCode::aborted, "me too"});
  CHECK(arena->aborted());
  const auto failure = Arena::attach(arena->name(), arena->epoch())->failure();
  CHECK(failure.has_value());
  CHECK_EQ(failure->executor, 1);
  CHECK(failure->code == ErrorCode::out_of_memory);
  CHECK_EQ(failure->message, "no room");
  const StepRow row{};
  CHECK_THROWS(arena->submit(&row, 1), ErrorCode::aborted);
}

TEST(long_messages_are_cut_between_characters) {
  for (const size_t length : {511, 512, 513}) {
    const auto arena = Arena::create(kSmall);
    const std::string ascii(length - 2, 'x');
    arena->fail({0, ErrorCode::system, ascii + "\u00e9" + "y"});
    const std::string expected = length + 1 <= 512 ? ascii + "\u00e9y" : length <= 512 ? ascii + "\u00e9" : ascii;
    CHECK_EQ(arena->failure()->message, expected);
  }
}

TEST(failing_ends_waits_on_every_semaphore) {
  const auto arena = Arena::create(kSmall);
  struct Parked {
    std::atomic<uint32_t> count{0};
  };
  Shared<Parked> parked;
  std::vector<Beside> waiters;
  for (Semaphore* semaphore : {&arena->submitted(), &arena->completed(), &arena->progress(0), &arena->progress(1)}) {
    waiters.emplace_back([&arena, &parked, semaphore] {
      ++parked->count;
      CHECK(semaphore->wait(1, limits(*arena)) == WaitResult::aborted);
    });
  }
  while (parked->count < 4) std::this_thread::yield();
  arena->fail({-1, ErrorCode::cancelled, "enough"});
  for (Beside& waiter : waiters) waiter.join();
}

TEST(racing_failures_leave_one_whole_record) {
  for (int round = 0; round < 50; ++round) {
    const auto arena = Arena::create(kSmall);
    std::vector<std::thread> reporters;
    for (int i = 0; i < 3; ++i) {
      reporters.emplace_back([&arena, i] {
        arena->fail({i, ErrorCode::internal, std::string(300, static_cast<char>('a' + i))});
      });
    }
    while (!arena->aborted()) std::this_thread::yield();
    const auto failure = arena->failure();
    for (std::thread& reporter : reporters) reporter.join();
    CHECK_EQ(failure->message, std::string(300, static_cast<char>('a' + failure->executor)));
    CHECK_EQ(arena->failure()->executor, failure->executor);
  }
}

#if defined(THERMOCLINE_TESTS_CAN_FORK)

struct Name {
  char text[64];
};

// The name of an arena whose creator was killed.
std::string orphan() {
  Shared<Name> name;
  Beside creator([&] {
    const auto arena = Arena::create(kSmall);
    arena->name().copy(name->text, sizeof(name->text) - 1);
    ::kill(getpid(), SIGKILL);
  });
  CHECK_EQ(creator.wait_status(), SIGKILL);
  return name->text;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::count(names.begin(), names.end(), name) == 1;
}

TEST(sweep_removes_arenas_of_the_dead_alone) {
  const auto mine = Arena::create(kSmall);
  bool told = false;
  // Whatever else runs on this machine may sweep an orphan first, but not each of them.
  for (int attempt = 0; attempt < 100 && !told; ++attempt) {
    const std::string name = orphan();
    const auto swept = sweep_arenas();
    told = contains(swept, name);
    CHECK(!contains(swept, mine->name()));
    CHECK(!has_file("/dev/shm/" + name));
    CHECK(has_file(path_of(*mine)));
  }
  CHECK(told);
}

// An attached process may outlive the creator; its mapping must not keep the name alive.
TEST(attaching_does_not_hold_an_arena_back_from_the_sweep) {
  struct Stage {
    Semaphore created;
    std::atomic<uint32_t> abort{0};
    char name[64];
    uint64_t epoch;
  };
  Shared<Stage> stage;
  Beside owner([&] {
    const auto arena = Arena::create(kSmall);
    arena->name().copy(stage->name, sizeof(stage->name) - 1);
    stage->epoch = arena->epoch();
    stage->created.signal(1);
    pause();
  });
  CHECK(stage->created.wait(1, {monotonic_ns() + kLong, 0, &stage->abort}) == WaitResult::reached);
  const auto attached = Arena::attach(stage->name, stage->epoch);
  owner.kill();
  sweep_arenas();
  CHECK(!has_file(path_of(*attached)));
  attached->residual()[0] = 1;
}

#endif

}  // namespace
}  // namespace thermocline
