#include "checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "../error.h"

namespace thermocline {
namespace {

constexpr uint64_t kMagic = 0x31746b7063637468;  // "htccpkt1", little-endian

template <class T>
std::streamsize bytes_of(std::span<T> values) {
  return static_cast<std::streamsize>(values.size_bytes());
}

}  // namespace

uint64_t fingerprint(std::span<const float> numbers) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte byte : std::as_bytes(numbers)) hash = (hash ^ std::to_integer<uint64_t>(byte)) * 0x100000001b3;
  return hash;
}

void write_checkpoint(const std::string& path, const CheckpointIdentity& identity, const CheckpointState& state,
                      const std::vector<std::span<const float>>& parts) {
  const std::string draft = path + ".part";
  std::ofstream file(draft, std::ios::binary | std::ios::trunc);
  std::vector<uint64_t> head{kMagic};
  head.insert(head.end(), identity.begin(), identity.end());
  head.insert(head.end(), {state.epoch, state.step});
  file.write(reinterpret_cast<const char*>(head.data()), bytes_of(std::span(head)));
  for (const auto part : parts) file.write(reinterpret_cast<const char*>(part.data()), bytes_of(part));
  file.close();
  if (!file || std::rename(draft.c_str(), path.c_str()) != 0) {
    throw Error(ErrorCode::system, path + " cannot be written: make room for it");
  }
}

bool read_checkpoint(const std::string& path, const CheckpointIdentity& identity, CheckpointState& state,
                     const std::vector<std::span<float>>& parts) {
  std::ifstream file(path, std::ios::binary);
  std::vector<uint64_t> head(identity.size() + 3);
  std::streamsize expected = bytes_of(std::span(head));
  for (const auto part : parts) expected += bytes_of(part);
  std::error_code failed;
  if (!file || std::filesystem::file_size(path, failed) != static_cast<uintmax_t>(expected) || failed) return false;
  file.read(reinterpret_cast<char*>(head.data()), bytes_of(std::span(head)));
  if (!file || head[0] != kMagic || !std::equal(identity.begin(), identity.end(), head.begin() + 1)) return false;
  for (const auto part : parts) file.read(reinterpret_cast<char*>(part.data()), bytes_of(part));
  if (!file) throw Error(ErrorCode::system, path + " cannot be read: remove it");
  state = {head[identity.size() + 1], head[identity.size() + 2]};
  return true;
}

}  // namespace thermocline
