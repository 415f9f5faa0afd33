"""CaseWriter: annotated cases as files, for a command to read; the scene may then change or be closed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TransferSegLib.case_files import REFERENCE_ORDER, CaseFiles
from TransferSegLib.errors import InputError, TransferSegError
from TransferSegLib.labels import LabelScheme

from .annotated import AnnotatedCase
from .nodes import writeLabelMap, writeVolume
from .runfolder import MANIFEST, SCHEME
from .worker import CODE_CANCELLED, CODE_CRASHED, Outcome, ignore


class CaseWriter:
    """Writes ``cases.csv``, ``labels.json`` and the images of loaded cases, which go to ``cases/``.

    One case in each turn of the event loop: the user interface stays alive. A case on disk is only pointed at.

    Parameters
    ----------
    folder : need not exist.
    cases, channels, scheme : see :class:`FinetuneRequest`.
    onEvent : is given the progress.
    onWritten : is given each case and its files.
    onFinished : is given how it ended, once; never from within a method.
    """

    def __init__(
        self,
        folder: Path,
        cases: Sequence[AnnotatedCase],
        channels: Sequence[str],
        scheme: LabelScheme,
        onEvent: Callable[[dict[str, Any]], Any] = ignore,
        onFinished: Callable[[Outcome], Any] = ignore,
        onWritten: Callable[[AnnotatedCase, CaseFiles], Any] = lambda case, files: None,
    ) -> None:
        self._folder, self._cases, self._channels, self._scheme = folder, list(cases), channels, scheme
        self._onEvent, self._onFinished, self._onWritten = onEvent, onFinished, onWritten
        self._files: list[CaseFiles] = []
        self._stopped = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._next)

    def start(self) -> None:
        """Begin, and return at once."""
        self._timer.start()

    def stop(self) -> None:
        """Stop before the next case; returns at once."""
        self._stopped = True

    def _next(self) -> None:
        done, total = len(self._files), len(self._cases)
        self._onEvent({"event": "progress", "stage": "copy", "step": done, "of": total, "eta_s": None, "detail": ""})
        outcome = Outcome(0)
        try:
            if self._stopped:
                outcome = Outcome(CODE_CANCELLED)
            elif done < total:
                files = self._write(self._cases[done])
                self._onWritten(self._cases[done], files)
                self._files.append(files)
                self._timer.start()
                return
            else:
                self._writeNotes()
        except TransferSegError as error:
            outcome = Outcome.of(error)
        except OSError as error:
            outcome = Outcome.of(InputError(f"{self._folder}: {error}"))
        except Exception as error:  # a bug: it is printed, but whoever waits must not wait for ever
            self._onFinished(Outcome(CODE_CRASHED, errors=({"cause": f"{type(error).__name__}: {error}"},)))
            raise
        self._onFinished(outcome)

    def _write(self, case: AnnotatedCase) -> CaseFiles:
        channels, scheme = self._channels, self._scheme
        if not case.loaded:
            images, label = {channel: Path(case.images[channel]) for channel in channels}, Path(case.label)
            brain = Path(case.brain) if case.brain else None
            return CaseFiles(case.name, images, label, case.group, case.patient, brain)
        scene = slicer.mrmlScene
        reason = case.problem(channels, scheme)  # again: nodes may have been deleted since
        if reason:
            raise InputError(_("Case {name}: {reason}").format(name=case.name, reason=reason))
        folder = self._folder / "cases" / case.name
        folder.mkdir(parents=True, exist_ok=True)
        images = {}
        for number, channel in enumerate(channels):
            images[channel] = folder / f"{number}.nii"
            writeVolume(scene.GetNodeByID(case.images[channel]), images[channel])
        reference = next((channel for channel in REFERENCE_ORDER if channel in channels), channels[0])
        codes = {item.name: item.codes[0] for item in scheme.classes}
        # In the order of the scheme, so that where segments overlap the later class wins, as it does for files.
        chosen = sorted(case.classes.items(), key=lambda item: scheme.names.index(item[1]) if item[1] in codes else 0)
        classes = {key: codes[name] for key, name in chosen if codes.get(name)}
        label = folder / "label.nii"
        writeLabelMap(scene.GetNodeByID(case.label), scene.GetNodeByID(case.images[reference]), classes, label)
        return CaseFiles(case.name, images, label, case.group, case.patient)

    def _writeNotes(self) -> None:
        from TransferSegLib.datasets import write_manifest

        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / SCHEME).write_text(json.dumps(self._scheme.to_dict()), encoding="utf-8")
        write_manifest(self._folder / MANIFEST, self._files)
