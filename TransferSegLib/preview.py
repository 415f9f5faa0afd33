"""LivePreview: what a network gives for one case while it learns, in a file that a viewer can read again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .case import load_case
from .case_files import CaseFiles
from .device import choose_precision, memory_errors
from .errors import InputError, TransferSegError
from .events import Message, OnEvent, Preview, Warning
from .network import UNet
from .plan import Plan
from .preprocess import Prepared
from .preprocess.pipeline import inside, labels_on
from .validation import probabilities
from .volume import Volume, check_writable, write_volume

# After a preview there is none for so many times as long as it took: a training spends a tenth of its time on them.
PAUSE = 9.0


class LivePreview:
    """Writes the labels of the first validation case, on its own grid, when the network got better.

    It is called by :func:`training.train` after each best epoch, and leaves out so many that it takes little of the
    time, see ``PAUSE``; :meth:`finish` shows the last best one. Neither the network nor a random number is changed, and
    no trouble with the file ends the training.

    Parameters
    ----------
    path : of the label map, with the codes of the scheme; rewritten as a whole.
    files : of the first validation case.
    """

    def __init__(self, path: Path, files: CaseFiles, plan: Plan, on_event: OnEvent) -> None:
        self._path, self._files, self._plan, self._on_event = path, files, plan, on_event
        self._place: Volume | None = None
        self._shown, self._next_s = 0, -math.inf
        self._warned = False

    def __call__(self, network: UNet, validation: Sequence[Prepared], epoch: int) -> None:
        """Show the network of ``epoch`` unless the last preview is too new."""
        if time.monotonic() >= self._next_s:
            self._show(network, validation[0], epoch)

    def finish(self, network: UNet, validation: Sequence[Prepared], epoch: int) -> None:
        """Show the network of the best ``epoch`` unless it is shown already."""
        if epoch != self._shown:
            self._show(network, validation[0], epoch)

    def _show(self, network: UNet, case: Prepared, epoch: int) -> None:
        begun = time.monotonic()
        try:
            with memory_errors("Train on a coarser grid (--spacing 2)."):
                self._write(network, case)
        except TransferSegError as error:
            if not self._warned:
                self._on_event(Warning(f"The preview cannot be written. {error}", self._files.name))
            self._warned = True
        else:
            self._shown = epoch
            self._on_event(Preview(self._files.name, self._path, epoch))
        now = time.monotonic()
        self._next_s = now + PAUSE * (now - begun)

    def _write(self, network: UNet, case: Prepared) -> None:
        scheme = self._plan.scheme
        if self._place is None:
            loaded = load_case(self._files, self._plan.channels, scheme)
            self._place = loaded.reference.with_data(np.zeros(loaded.grid.shape, np.uint8))
        device = next(network.parameters()).device
        precision = choose_precision(self._plan.recipe.precision, device)
        probability = inside(np.asarray(case.brain), probabilities(network, case, device, precision))
        labels = labels_on(self._place.grid, probability, case.grid)
        write_volume(self._place.with_data(scheme.decode(labels)), self._path)


def make_preview(path: str | Path | None, plan: Plan, on_event: OnEvent) -> LivePreview | None:
    """The preview of a run; None when none is wanted, or no case validates, which is said.

    Raises
    ------
    InputError : the file cannot be a label map, or it is one of the images of the cases.
    """
    if path is None:
        return None
    path = Path(path)
    check_writable(path)
    roles = plan.roles
    for case in (*roles.training, *roles.validation, *roles.held_out):
        if case.owns(path):
            raise InputError(f"{path} is an image of the case '{case.name}'.", "Choose another file for the preview.")
    if not roles.validation:
        on_event(Message("plan", "There is no preview: no case is for validation."))
        return None
    return LivePreview(path, roles.validation[0], plan, on_event)
