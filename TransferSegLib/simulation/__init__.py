"""The parts of :mod:`TransferSegLib.simulate`: anatomy, disease, and the scanner that takes pictures of both."""
