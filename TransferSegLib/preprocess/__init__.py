"""Pre-processing: one file a step, and the pipeline that chains them."""

from .pipeline import NORMALISATIONS, Pipeline, Prepared

__all__ = ["NORMALISATIONS", "Pipeline", "Prepared"]
