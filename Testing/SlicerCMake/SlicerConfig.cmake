# Stand-in for Slicer's package configuration: see README.md.

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/CPackExtension.cmake")

set(Slicer_USE_PYTHONQT ON)
set(Slicer_VERSION "5.13")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION}/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set(Slicer_SHARE_DIR "share/Slicer-${Slicer_VERSION}")

# What runs the tests: a Slicer, or as here the stand-in of ../SlicerHost.
get_filename_component(_testing_dir "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
set(TransferSeg_TESTING_PYTHON "python3" CACHE STRING "Python that has what the tests need")
set(Slicer_LAUNCHER_EXECUTABLE
  ${CMAKE_COMMAND} -E env "PYTHONPATH=${_testing_dir}" ${TransferSeg_TESTING_PYTHON} -m SlicerHost)
