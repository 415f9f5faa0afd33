# Stand-in for Slicer_EXTENSION_GENERATE_CONFIG: see README.md. An extension of scripts has nothing to export.

if("${EXTENSION_NAME}" STREQUAL "")
  message(FATAL_ERROR "include(\${Slicer_USE_FILE}) before Slicer_EXTENSION_GENERATE_CONFIG")
endif()
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}Config.cmake" "set(${EXTENSION_NAME}_SOURCE_DIR \"${CMAKE_SOURCE_DIR}\")\n")
