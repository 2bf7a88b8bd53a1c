#include "device_library.h"

#include <dlfcn.h>
#include <unistd.h>

namespace thermocline {

DeviceLibrary::DeviceLibrary(const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) {
    throw Error(ErrorCode::not_found, "there is no device library " + path, "options.library");
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    throw Error(ErrorCode::unsupported, "the device library does not open: " + std::string(::dlerror()),
                "options.library");
  }
  using Entry = const DeviceFunctions* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "thermocline_device_library"));
  if (entry == nullptr) throw Error(ErrorCode::unsupported, path + " is no device library", "options.library");
  functions_ = entry();
  if (functions_->version != DeviceFunctions::kVersion) {
    throw Error(ErrorCode::unsupported, path + " is of another build: build it anew", "options.library");
  }
}

}  // namespace thermocline
