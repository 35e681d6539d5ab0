# The helpers every layer uses: loopfs_library() and loopfs_test().

add_library(loopfs_options INTERFACE)
target_compile_options(loopfs_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # false alarms of g++ 12 on std::string: GCC bug 105651
  $<$<BOOL:${LOOPFS_WERROR}>:-Werror>
  $<$<CONFIG:Release>:-fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2>)
target_link_options(loopfs_options INTERFACE
  $<$<CONFIG:Release>:LINKER:-z,relro,-z,now>)
target_compile_definitions(loopfs_options INTERFACE
  _GNU_SOURCE _FILE_OFFSET_BITS=64 FUSE_USE_VERSION=314 LOOPFS_VERSION="${PROJECT_VERSION}")
# For "sys/x.h" in quotes only: <sys/x.h> stays the system's.
target_compile_options(loopfs_options INTERFACE "SHELL:-iquote ${CMAKE_SOURCE_DIR}/src")
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
if(LOOPFS_STATIC)
  set(CMAKE_CXX_LINK_OPTIONS_PIE -static-pie)
endif()

if(LOOPFS_SANITIZE)
  target_compile_options(loopfs_options INTERFACE -fsanitize=${LOOPFS_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(loopfs_options INTERFACE -fsanitize=${LOOPFS_SANITIZE})
endif()

# fuzz/CMakeLists.txt adds libFuzzer's main() where there is none.
if(LOOPFS_FUZZ)
  target_compile_options(loopfs_options INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined)
endif()

# loopfs_library(NAME SOURCES a.cc b.cc DEPS loopfs_base ...): the static library loopfs_NAME.
function(loopfs_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(loopfs_${name} STATIC ${arg_SOURCES})
  target_link_libraries(loopfs_${name} PUBLIC loopfs_options ${arg_DEPS})
endfunction()

# loopfs_test(NAME FILES a_test.cc ... DEPS ...): one program of unit tests for the layer NAME,
# run by ctest under the label NAME. Unit tests need no root and take under a second.
function(loopfs_test name)
  if(NOT LOOPFS_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "FILES;DEPS" ${ARGN})
  add_executable(${name}_test ${arg_FILES})
  target_link_libraries(${name}_test PRIVATE loopfs_${name} GTest::gmock GTest::gtest_main ${arg_DEPS})
  add_test(NAME unit.${name} COMMAND ${name}_test)
  set_tests_properties(unit.${name} PROPERTIES LABELS "unit;${name}" TIMEOUT 60)
endfunction()
