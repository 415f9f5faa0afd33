"""The template of MNI space: the average brain that others are brought to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import numpy as np

from ..volume import Volume, read_volume


@dataclass(frozen=True, eq=False)
class Template:
    """An average brain in MNI space. Origin, terms and citation: ``templates/NOTICE.txt``.

    Attributes
    ----------
    t1 : T1-weighted average without the skull, 0 outside of the brain, 2 mm, float32.
    brain : the brain's mask, 1 mm, bool.
    """

    t1: Volume
    brain: Volume


@cache
def load_template() -> Template:
    """ICBM 152 2009a, symmetric (Fonov 2011, doi 10.1016/j.neuroimage.2010.07.033). It is read once and shared."""
    t1, brain = read_template_file("icbm152_t1.nii.gz"), read_template_file("icbm152_brain.nii.gz")
    template = Template(t1.with_data(t1.data.astype(np.float32)), brain.with_data(brain.data > 0))
    for volume in (template.t1, template.brain):
        volume.data.setflags(write=False)
    return template


def read_template_file(name: str) -> Volume:
    """A file of the folder ``templates``, whose ``NOTICE.txt`` says what is in it."""
    with as_file(files("TransferSegLib") / "templates" / name) as path:
        volume = read_volume(path)
    return Volume(volume.data, volume.grid)  # without the path: it is nobody's case
