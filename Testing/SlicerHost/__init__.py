"""A stand-in for 3D Slicer's Python host: real MRML (slicer-core), real Qt (PySide6), strict PythonQt manners."""
