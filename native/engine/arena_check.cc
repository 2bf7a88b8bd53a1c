#include "arena_check.h"

#include <string>

namespace thermocline {
namespace {

void check_arena_field(const char* field, uint32_t has, uint32_t needs, bool enough) {
  if (enough) return;
  throw Error(ErrorCode::invalid_argument,
              std::string("the arena was made for ") + field + " " + std::to_string(has) + " and the plan has " +
                  std::to_string(needs),
              std::string("arena.") + field);
}

}  // namespace

void check_arena(const ArenaOptions& arena, const EnginePlan& plan) {
  const auto equal = [](const char* field, uint32_t has, uint32_t needs) {
    check_arena_field(field, has, needs, has == needs);
  };
  equal("executors", arena.executors, static_cast<uint32_t>(plan.schedule.executors.size()));
  equal("layers", arena.layers, plan.shape.layers);
  equal("embd", arena.embd, plan.shape.embd);
  equal("ff", arena.ff, plan.shape.ff);
  equal("vocab", arena.vocab, plan.shape.vocab);
  check_arena_field("maxRows", arena.max_rows, plan.max_rows, arena.max_rows >= plan.max_rows);
}

}  // namespace thermocline
