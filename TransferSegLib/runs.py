"""Runs: from annotated cases to a model on disk, by training from scratch or from a source model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .allocator import keep_memory
from .announcement import announce
from .cache import default_cache, prepare_cases
from .case import load_case
from .case_files import CaseFiles
from .checkpoint import load_checkpoint
from .datasets import Dataset
from .device import choose_device
from .distributed import World, join_world
from .errors import Cancelled, InputError
from .evaluation import Evaluation, case_rows
from .events import CancelToken, OnEvent, Result, ignore, track
from .inference import InferenceOptions, Segmenter
from .labels import LabelScheme
from .metrics import pr_auc, score_case
from .model import Model, load_model, save_model
from .network import UNet
from .plan import Plan, make_plan
from .preparation import Preparation
from .preprocess import Pipeline, Prepared
from .preview import make_preview
from .recipe import Recipe
from .record import RunRecord, check_card, write_history
from .training import train
from .transfer import TensorOrigin, freeze, tensor_hash, transfer_weights

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Run:
    """What a run made.

    Attributes
    ----------
    model : with the weights of the best epoch; on disk in ``folder / "model"``.
    history : a row for each epoch.
    held_out : metrics of the held-out cases on their original grids, or None without such cases.
    cancelled : whether it was stopped early; the model is then the best until that moment.
    """

    folder: Path
    model: Model
    history: tuple[Mapping[str, float], ...]
    held_out: Evaluation | None
    cancelled: bool


def pretrain(
    dataset: str | Path | Dataset | Sequence[CaseFiles], out: str | Path, recipe: Recipe | None = None, **options: Any
) -> Run:
    """Train a model from random weights; options as in :func:`fine_tune`."""
    return fine_tune(dataset, out, strategy="scratch", recipe=recipe, **options)


def fine_tune(
    dataset: str | Path | Dataset | Sequence[CaseFiles],
    out: str | Path,
    source: str | Path | Model | None = None,
    strategy: str = "all",
    recipe: Recipe | None = None,
    *,
    name: str | None = None,
    labels: str | Path | LabelScheme | None = None,
    channels: Sequence[str] | None = None,
    statistics: str | None = None,
    validation: float | Sequence[str] = 0.2,
    held_out: float | Sequence[str] = 0.0,
    cache: str | Path | None = None,
    resume: bool = False,
    licence: str = "not stated (ask the maker)",
    citations: Sequence[str] = (),
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    jobs: int = 1,
    preparation: Preparation | None = None,
    preview: str | Path | None = None,
    **prepare: Any,
) -> Run:
    """Adapt ``source`` to annotated cases, and write the model and the numbers on held-out cases into ``out``.

    Parameters
    ----------
    dataset : a folder in a known layout, a manifest CSV, or cases; those without a label map are left out.
    source : a model to start from. Its channels, spacing and pre-processing are kept unless given. Needed by every
        strategy but ``scratch``.
    strategy : see :data:`strategies.STRATEGIES`.
    name : of the model; None: the name of the folder ``out``.
    labels : see :func:`schemes.choose_scheme`.
    channels : names, in the order of the network's input.
    statistics : of batch normalisation, see :data:`network.STATISTICS`; None: the source's, or ``"image"``.
    validation, held_out : see :func:`splits.assign_roles`.
    cache : folder for prepared cases.
    resume : go on with the run in ``out``.
    jobs : processes that prepare cases, see :func:`parallel.count_jobs`.
    preview : label map that shows, while the network learns, what it gives for the first validation case; see
        :class:`preview.LivePreview`.
    preparation : what the pre-processing shall have; or give its fields as options: ``spacing=2, brain="bet"``.

    Raises
    ------
    InputError : a case, a label map or an option cannot be used.
    ModelError : the source is damaged or does not fit.
    ResourceError : the memory or the disk is too small.
    Cancelled : stopped before there was anything to keep.
    """
    out, recipe, cancel = Path(out), recipe or Recipe(), cancel or CancelToken()
    _check_folder(out, resume)
    world = join_world(recipe.batch_size, choose_device(recipe.device))
    if not world.leads:
        on_event = ignore
    try:
        parent = load_model(source) if source is not None else None
        plan = make_plan(
            dataset,
            parent,
            strategy,
            recipe,
            labels,
            channels,
            preparation or Preparation(**prepare),
            statistics,
            validation,
            held_out,
            on_event,
        )
        named = name or out.resolve().name, licence, tuple(citations)
        check_card(plan, *named)
        live = make_preview(preview, plan, on_event)
        plan, training, validating = _prepare(
            plan, Path(cache or default_cache() / "cases"), world, jobs, on_event, cancel
        )
        network, origins, frozen = _start_network(plan)
        before = tensor_hash(network, frozen)
        for event in announce(plan, network, origins, training, validating):
            on_event(event)
        result = train(
            network,
            training,
            validating,
            plan.scheme,
            recipe,
            out / CHECKPOINT,
            resume,
            on_event,
            cancel,
            world,
            plan.identity,
            live,
        )
        network.load_state_dict(result.weights)
        after = tensor_hash(network, frozen)
        if after != before:  # cannot happen unless freezing is broken; a wrong record would be worse than none
            raise RuntimeError("A frozen layer has changed during training.")
        world.wait()
    finally:
        world.close()
    record = RunRecord(plan, result, *named, (before, after))
    model = record.model()
    if not world.leads:
        return Run(out, model, result.history, None, result.cancelled)
    save_model(model, out / "model")  # now, so that whatever comes next loses nothing
    write_history(result.history, out / "history.csv")
    if live is not None:
        live.finish(network, validating, result.best_epoch)
    tested, cancelled = None, result.cancelled
    if plan.roles.held_out and not cancelled:
        try:
            tested = score_cases(model, plan.roles.held_out, out / "held-out", on_event, cancel)
            model = record.model(tested)
            save_model(model, out / "model")
        except Cancelled:  # the model is there, without these numbers
            cancelled = True
    on_event(Result({**record.summary(out / "model", tested), "cancelled": cancelled}))
    return Run(out, model, result.history, tested, cancelled)


@keep_memory()
def score_cases(
    model: Model,
    cases: Sequence[CaseFiles],
    out: Path,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    options: InferenceOptions | None = None,
) -> Evaluation:
    """Segment annotated cases that the model has not seen and score them on their original grids.

    Writes the label maps, ``metrics.csv`` and ``metrics_summary.csv`` into ``out``. A model with one foreground class
    is scored by its probabilities too: ``pr_auc`` of each case.
    """
    # Not by OpenVINO: the numbers shall not hang on what is installed, and preparing it takes longer than a few cases.
    options = options or InferenceOptions(engine="torch")
    segmenter = Segmenter(model, replace(options, probabilities=model.scheme.binary))
    rows, cancel = [], cancel or CancelToken()
    for case in track(cases, "test", len(cases), on_event, cancel):
        # Not every label map was drawn on the channel that gives the grid when there is none.
        truth = load_case(case, segmenter.channels, segmenter.scheme, options.reference)
        assert truth.label is not None
        result = segmenter(case, on_event=on_event, cancel=cancel, reference=truth.reference_channel)
        replace(result, probabilities={}).save(out / f"{case.name}.nii.gz")
        scores = score_case(
            result.labels.data, truth.label, segmenter.scheme, truth.grid.spacing, voxel_ml=truth.grid.voxel_ml
        )
        for region, volume in result.probabilities.items():
            scores[region]["pr_auc"] = pr_auc(volume.data, truth.label == 1)
        rows += case_rows(case.name, scores)
    evaluation = Evaluation.of(rows)
    evaluation.save(out)
    return evaluation


def _check_folder(out: Path, resume: bool) -> None:
    if resume:
        load_checkpoint(out / CHECKPOINT)  # that it cannot be used is told now, not when all cases are prepared
        return
    if (out / "model").exists():
        raise InputError(
            f"{out} holds a run already.", "Choose another --out. If that run was stopped, add --resume to go on."
        )
    if (out / CHECKPOINT).exists():
        raise InputError(f"{out} holds a run that was stopped.", "Add --resume to go on, or choose another --out.")


def _prepare(
    plan: Plan, cache: Path, world: World, jobs: int, on_event: OnEvent, cancel: CancelToken
) -> tuple[Plan, list[Prepared], list[Prepared]]:
    """The training and the validation cases, and the plan with what the pre-processing learned on the training cases.

    The first process fills the cache, the others then find it full.
    """
    cases = [*plan.roles.training, *plan.roles.validation]
    count = len(plan.roles.training)

    def prepared(pipeline: Pipeline) -> list[Prepared]:
        return prepare_cases(cases, plan.channels, pipeline, plan.scheme, cache, on_event, cancel, jobs)

    if not world.leads:
        world.wait()
    if plan.pipeline.learns:
        training = prepared(plan.pipeline.without_intensity())[:count]
        plan = replace(plan, pipeline=plan.pipeline.learned(training, plan.channels))
    made = prepared(plan.pipeline)
    if world.leads:
        world.wait()
    return plan, made[:count], made[count:]


def _start_network(plan: Plan) -> tuple[UNet, list[TensorOrigin], list[str]]:
    """The network before its first step: random from the seed, the source's weights in it, frozen where it shall be."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.recipe.seed)
        network = UNet(**plan.network_parameters)
    source: dict[str, Tensor] = {}
    source_channels: Sequence[str] = plan.channels
    if plan.parent is not None:
        source = {name: torch.from_numpy(np.array(array)) for name, array in plan.parent.weights.items()}
        source_channels = plan.parent.card.channels
    origins = transfer_weights(network, source, plan.strategy, plan.channels, source_channels)
    return network, origins, freeze(network, plan.strategy)
