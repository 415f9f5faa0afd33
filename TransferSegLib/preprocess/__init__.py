"""Pre-processing: one file a step, and the pipeline that chains them."""

from .pipeline import Pipeline, Prepared

__all__ = ["Pipeline", "Prepared"]
