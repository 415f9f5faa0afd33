"""A stop while an outside tool looks for a brain, which takes minutes, reaches the tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_model import threshold_model
from phantoms import make_grid
from test_score_cases import labelled

from TransferSegLib.cache import prepare_cases
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import Cancelled
from TransferSegLib.events import CancelToken
from TransferSegLib.inference import InferenceOptions
from TransferSegLib.labels import LESION
from TransferSegLib.prepare import prepare_images
from TransferSegLib.preprocess import Pipeline, brain
from TransferSegLib.preprocess.brain import FindBrain
from TransferSegLib.runs import score_cases
from TransferSegLib.segment_many import segment_dataset

PIPELINE = Pipeline(brain=FindBrain("bet"))
BY_BET = InferenceOptions(engine="torch", device="cpu", brain="bet")
CHANNELS = ("t1", "flair")

Work = Callable[[list[CaseFiles], Path, CancelToken], object]

WORKS: dict[str, Work] = {
    "training": lambda cases, out, token: prepare_cases(cases, CHANNELS, PIPELINE, LESION, out, cancel=token),
    "preprocess": lambda cases, out, token: prepare_images(
        lambda _: cases, out, channels=CHANNELS, cancel=token, brain="bet"
    ),
    "preprocess, learning": lambda cases, out, token: prepare_images(
        lambda _: cases, out, channels=CHANNELS, cancel=token, brain="bet", standardise="nyul"
    ),
    "segment": lambda cases, out, token: segment_dataset(cases, threshold_model(), out, BY_BET, cancel=token),
    "held-out cases": lambda cases, out, token: score_cases(
        threshold_model(), cases, out, cancel=token, options=BY_BET
    ),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_the_tool_is_stopped_and_no_other_case_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    case = labelled(tmp_path / "in", dict.fromkeys(CHANNELS, make_grid()), "flair")
    asked = []

    def extract(method: str, image: object, on_event: object, cancel: CancelToken | None) -> np.ndarray:
        asked.append(method)
        token.cancel()
        assert cancel is not None
        cancel.raise_if_cancelled()
        pytest.fail("not stopped")

    token = CancelToken()
    monkeypatch.setattr(brain, "extract", extract)
    with pytest.raises(Cancelled):
        work([case, replace(case, name="p2")], tmp_path / "out", token)
    assert asked == ["bet"]
