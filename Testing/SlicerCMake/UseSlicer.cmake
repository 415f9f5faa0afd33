# Stand-in for Slicer's use file: see README.md.

if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME "${PROJECT_NAME}")
endif()
if(EXTENSION_NAME MATCHES "^(|Slicer|Project)$")
  message(FATAL_ERROR "Call project(<extension>) before include(\${Slicer_USE_FILE})")
endif()
if(NOT DEFINED EXTENSION_DEPENDS)
  set(EXTENSION_DEPENDS "NA")
endif()

include("${CMAKE_CURRENT_LIST_DIR}/ScriptedModule.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/PythonTesting.cmake")

# As in Slicer, tests are on unless they are switched off.
option(BUILD_TESTING "Build the tests" ON)
if(BUILD_TESTING)
  enable_testing()
endif()
