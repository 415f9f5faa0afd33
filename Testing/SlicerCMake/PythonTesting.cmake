# Stand-in for slicer_add_python_test and slicer_add_python_unittest: see README.md.

function(_add_slicer_test name)
  add_test(NAME py_${name} COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing ${ARGN})
  set_property(TEST py_${name} PROPERTY RUN_SERIAL TRUE)
endfunction()

# Reads TESTNAME_PREFIX, SCRIPT and the lists named in `lists` from the arguments of `caller`, as TEST_...; and TEST_NAME.
macro(_parse_python_test caller lists)
  cmake_parse_arguments(TEST "" "TESTNAME_PREFIX;SCRIPT" "${lists}" ${ARGN})
  if(DEFINED TEST_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${caller}: unknown keywords '${TEST_UNPARSED_ARGUMENTS}'")
  endif()
  if("${TEST_SCRIPT}" STREQUAL "")
    message(FATAL_ERROR "${caller}: SCRIPT is missing")
  endif()
  get_filename_component(TEST_SCRIPT "${TEST_SCRIPT}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  if(NOT EXISTS "${TEST_SCRIPT}" OR IS_DIRECTORY "${TEST_SCRIPT}")
    message(FATAL_ERROR "${caller}: there is no ${TEST_SCRIPT}")
  endif()
  get_filename_component(TEST_NAME "${TEST_SCRIPT}" NAME_WE)
endmacro()

function(slicer_add_python_test)
  _parse_python_test(slicer_add_python_test "SLICER_ARGS;SCRIPT_ARGS" ${ARGN})
  if("${TEST_SCRIPT_ARGS}" MATCHES "^[^;]*\\.py(;|$)")
    message(FATAL_ERROR "slicer_add_python_test: Slicer would run ${TEST_SCRIPT_ARGS} in place of ${TEST_SCRIPT}")
  endif()
  _add_slicer_test("${TEST_TESTNAME_PREFIX}${TEST_NAME}"
    ${TEST_SLICER_ARGS} --python-script "${TEST_SCRIPT}" ${TEST_SCRIPT_ARGS})
endfunction()

function(slicer_add_python_unittest)
  _parse_python_test(slicer_add_python_unittest "SLICER_ARGS" ${ARGN})
  _add_slicer_test("${TEST_TESTNAME_PREFIX}${TEST_NAME}"
    ${TEST_SLICER_ARGS} --python-code "unittest of ${TEST_NAME}")
endfunction()
