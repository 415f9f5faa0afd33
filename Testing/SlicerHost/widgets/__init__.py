"""Stand-ins for the widgets of CTK and Slicer: small, but with the properties, signals and slots of the real ones."""
