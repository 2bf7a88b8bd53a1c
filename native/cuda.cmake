# The device library for NVIDIA cards, from compute capability 7.5 on: code for each that is around, and PTX for those to
# come. The runtime is linked in; the driver is looked for when the library is opened.
#
# nvcc is called as it is, not through CMake's CUDA language, whose detection runs a program on a card.
if(NOT THERMOCLINE_NVCC)
  message(FATAL_ERROR "THERMOCLINE_CUDA needs nvcc: install CUDA 12.4 or newer, or set THERMOCLINE_NVCC")
endif()
set(THERMOCLINE_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING "Compute capabilities to compile kernels for")
set(THERMOCLINE_CUDA_TEST_ARCHITECTURES "86" CACHE STRING "The same for tests of kernels")
set(THERMOCLINE_NVCC_FLAGS -std=c++20 -O3 -fmad=false --expt-relaxed-constexpr -Werror all-warnings -diag-suppress 177
  -Xcompiler=-Wall,-Wextra,-fPIC,-fvisibility=hidden,-ffp-contract=off --threads 2)

# The PTX that code for a compute capability is made of. Kernels tell three kinds of cards apart: those before 8.0
# (tensor_core.h), and later ones that are fast in f64 or not (wide_sum.h). Most of the compiler's time goes into PTX.
function(ptx_for architecture ptx)
  set(${ptx} ${architecture} PARENT_SCOPE)
  if(architecture STREQUAL "90")
    set(${ptx} 80 PARENT_SCOPE)
  elseif(architecture STREQUAL "89")
    set(${ptx} 86 PARENT_SCOPE)
  endif()
endfunction()

# nvcc's options for these compute capabilities: code for each, and PTX for later cards. That is the consumer cards', or an
# older one where no newer is asked for: others would add in f64, which consumer cards to come are slow in.
function(code_for architectures options)
  set(kinds "")
  set(newest 0)
  foreach(architecture ${architectures})
    ptx_for(${architecture} kind)
    list(APPEND kinds ${kind})
    list(APPEND code_${kind} sm_${architecture})
    if(architecture VERSION_GREATER newest)
      set(newest ${architecture})
    endif()
  endforeach()
  if(newest VERSION_GREATER 86)
    set(newest 86)
  endif()
  list(APPEND kinds ${newest})
  list(APPEND code_${newest} compute_${newest})
  list(REMOVE_DUPLICATES kinds)
  set(generated "")
  foreach(kind ${kinds})
    list(JOIN code_${kind} "," codes)
    list(APPEND generated -gencode "arch=compute_${kind},code=[${codes}]")
  endforeach()
  set(${options} ${generated} PARENT_SCOPE)
endfunction()
code_for("${THERMOCLINE_CUDA_ARCHITECTURES}" library_code)
code_for("${THERMOCLINE_CUDA_TEST_ARCHITECTURES}" test_code)

file(GLOB_RECURSE cuda_headers CONFIGURE_DEPENDS arena/*.h engine/*.h kernels/*.h)

# Compiles a source for cards by these options; `object` is set to what comes of it.
function(compile_for_cards source code object)
  get_filename_component(name ${source} NAME_WE)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.o)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/cuda
    COMMAND ${THERMOCLINE_NVCC} ${THERMOCLINE_NVCC_FLAGS} ${code} -x cu -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${output}
    DEPENDS ${source} ${cuda_headers} ${ARGN} COMMENT "Compiling ${source} for cards" VERBATIM)
  set_source_files_properties(${output} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${object} ${output} PARENT_SCOPE)
endfunction()

get_filename_component(cuda_root ${THERMOCLINE_NVCC} REALPATH)
get_filename_component(cuda_root ${cuda_root} DIRECTORY)
find_library(THERMOCLINE_CUDART cudart_static HINTS ${cuda_root}/../lib64 ${cuda_root}/../targets/x86_64-linux/lib
  /usr/local/cuda/lib64 REQUIRED)

set(cuda_parts "")
foreach(source ${card_sources} ${driver_sources})
  if(source MATCHES "\\.cu$")
    compile_for_cards(${source} "${library_code}" object)
    list(APPEND cuda_parts ${object})
  else()
    list(APPEND cuda_parts ${source})
  endif()
endforeach()
add_library(thermocline_card_cuda STATIC EXCLUDE_FROM_ALL ${cuda_parts})
target_link_libraries(thermocline_card_cuda PUBLIC thermocline_core ${THERMOCLINE_CUDART} rt)
add_library(thermocline_cuda MODULE ${library_source})
target_link_libraries(thermocline_cuda PRIVATE thermocline_card_cuda)
if(NOT THERMOCLINE_CUDA)
  set_target_properties(thermocline_cuda PROPERTIES EXCLUDE_FROM_ALL TRUE)
endif()

# Tests of kernels, on a card: the same sources as those of the emulation.
add_custom_target(gpu_tests)
if(THERMOCLINE_TESTS)
  file(GLOB kernel_tests CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} tests/cuda_*_test.cc)
  list(REMOVE_ITEM kernel_tests tests/cuda_emulation_test.cc)
  file(GLOB test_headers CONFIGURE_DEPENDS tests/*.h)
  foreach(source ${kernel_tests})
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "^cuda_" "gpu_" name ${name})
    compile_for_cards(${source} "${test_code}" object ${test_headers})
    add_executable(${name} EXCLUDE_FROM_ALL ${object})
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
    target_link_libraries(${name} PRIVATE thermocline_card_cuda)
    add_dependencies(gpu_tests ${name})
  endforeach()
endif()

# What share of a card's bandwidth its kernels reach; a program to be run by hand.
file(GLOB bench_headers CONFIGURE_DEPENDS bench/*.h)
compile_for_cards(bench/gpu_kernels_bench.cu "${test_code}" object ${bench_headers})
add_executable(gpu_kernels_bench EXCLUDE_FROM_ALL ${object})
set_target_properties(gpu_kernels_bench PROPERTIES LINKER_LANGUAGE CXX)
target_link_libraries(gpu_kernels_bench PRIVATE thermocline_card_cuda)
