"""Between Slicer and TransferSegLib: the only code, with TransferSeg.py, that knows both."""
