"""PySide6 behind PythonQt's manners: properties are attributes, signals have C++ signatures, errors stay in slots."""
