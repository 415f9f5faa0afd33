"""The ``transferseg`` command. Each command turns its arguments into one call of the library.

Nothing heavy is imported before a command runs: ``transferseg --help`` is there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_models import models
from .cli_study import compare, study
from .options import (
    PREPARATION_PANEL,
    TRAINING_PANEL,
    Cache,
    Channels,
    Labels,
    Statistics,
    numbers,
    share_or_names,
    split_names,
    takes,
)
from .preparation import BRAIN_METHODS, Preparation
from .recipe import Recipe
from .strategies import STRATEGIES
from .terminal import REPORT_PANEL, Reporting, print_table, session
from .workforce import WORK_PANEL, Workers

if TYPE_CHECKING:
    from .case_files import CaseFiles

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Adapt a pre-trained 3D U-Net to your own brain MRIs, and segment with it.",
    epilog="Exit codes: 0 done, 1 some cases failed, 2 bad usage or input, 3 cancelled, 4 out of memory or disk.",
)

_SOURCE_HELP = "Model to start from: a name, a folder or a zip."

Dataset = Annotated[
    str, typer.Argument(help="Folder in BraTS, nnU-Net/MSD or BIDS layout, folder of cases, or manifest CSV.")
]
Cases = Annotated[
    list[str], typer.Argument(help="Case folders, datasets, or t1=a.nii.gz,t1c=b.nii.gz,t2=c.nii.gz,flair=d.nii.gz")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder.")]
ModelName = Annotated[str, typer.Option("--model", "-m", help="Model: a name, a folder or a zip.")]
Jobs = Annotated[int, typer.Option(help="Processes that prepare cases; 0: what processors and memory allow.")]
Validation = Annotated[str, typer.Option(help="Cases that choose the best epoch: a share, or names, comma-separated.")]
HeldOut = Annotated[str, typer.Option(help="Cases to test on in the end: a share, or names, comma-separated.")]
Name = Annotated[str, typer.Option(help="Name of the model. Default: that of the output folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")]
Preview = Annotated[
    str, typer.Option(help="Label map of the first validation case, rewritten whenever the model got better.")
]
Licence = Annotated[str, typer.Option(help="Licence of the model, for its card.")]


@app.command(epilog="Example: transferseg finetune my_cases --source ms-lesion --strategy all --out runs/first")
@takes(Reporting, "reporting", REPORT_PANEL)
@takes(Recipe, "recipe", TRAINING_PANEL, later=True)
@takes(Preparation, "preparation", PREPARATION_PANEL, later=True)
def finetune(
    dataset: Dataset,
    out: Out,
    recipe: Callable[[], Recipe],
    preparation: Callable[[], Preparation],
    reporting: Reporting,
    source: Annotated[str, typer.Option("--source", "-s", help=_SOURCE_HELP)] = "",
    strategy: Annotated[
        str, typer.Option(help="\n\n".join(f"[bold]{s.name}[/bold]: {s.explanation}" for s in STRATEGIES.values()))
    ] = "all",
    labels: Labels = "",
    channels: Channels = "",
    statistics: Statistics = "",
    validation: Validation = "0.2",
    held_out: HeldOut = "0",
    name: Name = "",
    cache: Cache = "",
    jobs: Jobs = 0,
    resume: Resume = False,
    preview: Preview = "",
    licence: Licence = "not stated (ask the maker)",
) -> None:
    """Adapt a model to annotated cases, and test it on held-out ones."""
    _train(
        reporting,
        recipe,
        preparation,
        dataset,
        out,
        source=source or None,
        strategy=strategy,
        labels=labels or None,
        channels=split_names(channels) or None,
        jobs=jobs,
        statistics=statistics or None,
        validation=share_or_names(validation),
        held_out=share_or_names(held_out),
        name=name or None,
        cache=cache or None,
        resume=resume,
        preview=preview or None,
        licence=licence,
    )


@app.command(epilog="Example: transferseg pretrain ms_cases --labels lesion --patch 96 --out models/ms")
@takes(Reporting, "reporting", REPORT_PANEL)
@takes(Recipe, "recipe", TRAINING_PANEL, later=True)
@takes(Preparation, "preparation", PREPARATION_PANEL, later=True)
def pretrain(
    dataset: Dataset,
    out: Out,
    recipe: Callable[[], Recipe],
    preparation: Callable[[], Preparation],
    reporting: Reporting,
    labels: Labels = "",
    channels: Channels = "",
    statistics: Statistics = "",
    validation: Validation = "0.2",
    held_out: HeldOut = "0",
    name: Name = "",
    cache: Cache = "",
    jobs: Jobs = 0,
    resume: Resume = False,
    preview: Preview = "",
    licence: Licence = "not stated (ask the maker)",
) -> None:
    """Train a source model from random weights."""
    _train(
        reporting,
        recipe,
        preparation,
        dataset,
        out,
        strategy="scratch",
        labels=labels or None,
        channels=split_names(channels) or None,
        jobs=jobs,
        statistics=statistics or None,
        validation=share_or_names(validation),
        held_out=share_or_names(held_out),
        name=name or None,
        cache=cache or None,
        resume=resume,
        preview=preview or None,
        licence=licence,
    )


@app.command(epilog="Example: transferseg segment brats/HGG --model glioma --out results --flips")
@takes(Reporting, "reporting", REPORT_PANEL)
@takes(Workers, "where", WORK_PANEL)
def segment(
    cases: Cases,
    model: ModelName,
    out: Out,
    where: Workers,
    reporting: Reporting,
    flips: Annotated[bool, typer.Option("--flips", help="Average over the image and its mirror image.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probability of each class.")
    ] = False,
    brats: Annotated[
        bool, typer.Option("--brats", help="Write CASE.nii.gz with 1, 2, 4 (or 3, as learned) for the BraTS portal.")
    ] = False,
    reference: Annotated[str, typer.Option(help="Channel whose grid the result gets. Default: flair.")] = "",
    also_on: Annotated[
        str, typer.Option(help="Channels, comma-separated, on whose grids the labels are written too; or all.")
    ] = "",
    brain: Annotated[
        str, typer.Option(help=f"How to find the brain: {', '.join(BRAIN_METHODS)}. Default: as the model does.")
    ] = "",
    engine: Annotated[str, typer.Option(help="auto, torch or openvino.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    memory: Annotated[
        float, typer.Option(show_default=False, help="Memory to use at most, in GB. Default: most of what is free.")
    ] = 0.0,
) -> None:
    """Segment cases; writes label maps on the grid of the images, and volumes.csv."""
    with session(reporting) as (on_event, cancel):
        from .events import Result
        from .inference import InferenceOptions
        from .model import load_model
        from .segment_many import segment_dataset

        loaded = load_model(model)
        options = InferenceOptions(
            flips=flips,
            engine=engine,
            device=device,
            precision=precision,
            memory_gb=memory or None,
            reference=reference or None,
            probabilities=probabilities,
            also_on=split_names(also_on),
            brain=brain or None,
        )
        files = _cases(cases, loaded.card.channels)
        _, failed = segment_dataset(
            files, loaded, out, options, brats, on_event, cancel, where.workers, where.scheduler, reporting.threads
        )
        on_event(Result({"written": len(files) - len(failed), "failed": len(failed), "folder": out}))
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: transferseg evaluate results brats --out metrics.csv")
@takes(Reporting, "reporting", REPORT_PANEL)
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Label map, or folder of label maps.")],
    reference: Annotated[Path, typer.Argument(help="Label map, folder of label maps, or annotated dataset.")],
    reporting: Reporting,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV with a row a case; a summary comes beside it.")] = Path(
        "metrics.csv"
    ),
    labels: Labels = "",
) -> None:
    """Compare label maps with reference label maps."""
    with session(reporting) as (on_event, cancel):
        from .datasets import find_cases
        from .errors import TransferSegError
        from .evaluation import evaluate as compare
        from .events import Result
        from .pairing import pair_labels
        from .schemes import choose_scheme

        try:
            known = find_cases(reference).scheme if reference.is_dir() else None
        except TransferSegError:  # a plain folder of label maps
            known = None
        pairs = pair_labels(predicted, reference)
        scheme = choose_scheme(labels or None, known, [pair.reference for pair in pairs])
        result = compare(predicted, reference, scheme, out, on_event, cancel)
        failed = len(result.failed)
        on_event(Result({"compared": len(pairs) - failed, "failed": failed, "table": out}))
    if not reporting.events and result.rows:
        print_table(result.to_table())
    if result.failed:
        raise typer.Exit(1)


@app.command(epilog="Example: transferseg preprocess brats/HGG --spacing 2 --out prepared")
@takes(Reporting, "reporting", REPORT_PANEL)
@takes(Preparation, "preparation", PREPARATION_PANEL, later=True)
def preprocess(
    cases: Cases,
    out: Out,
    reporting: Reporting,
    preparation: Callable[[], Preparation],
    model: Annotated[str, typer.Option("--model", "-m", help="Prepare as for this model.")] = "",
    channels: Channels = "",
    report: Annotated[
        bool, typer.Option("--report", help="Write report/index.html: pictures to check by eye.")
    ] = False,
    jobs: Jobs = 0,
) -> None:
    """Write what the network would see of each case: channels and brain mask on the working grid."""
    with session(reporting) as (on_event, cancel):
        from .prepare import prepare_images

        failed = prepare_images(
            lambda wanted: _cases(cases, wanted),
            out,
            model or None,
            split_names(channels) or None,
            report,
            jobs,
            on_event,
            cancel,
            preparation(),
        )
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: transferseg simulate --disease glioma --cases 20 --spacing 2 --out simulated")
@takes(Reporting, "reporting", REPORT_PANEL)
def simulate(
    out: Out,
    reporting: Reporting,
    disease: Annotated[str, typer.Option(help="ms or glioma.")] = "ms",
    cases: Annotated[int, typer.Option(help="How many patients.")] = 10,
    spacing: Annotated[str, typer.Option(help="Voxel size in mm: one number, or three, comma-separated.")] = "1",
    seed: Annotated[int, typer.Option(help="The same seed gives the same patients.")] = 0,
    without: Annotated[
        str, typer.Option(help="Patients of the lesion bank, by number, whose lesions are not used; for ms.")
    ] = "",
    jobs: Annotated[int, typer.Option(help="Processes; 0: what processors and memory allow.")] = 0,
) -> None:
    """Make patients that do not exist: four channels and exact labels, in the layout of BraTS."""
    with session(reporting) as (on_event, cancel):
        from .events import Result
        from .simulate import simulate_dataset

        steps = numbers(spacing, float, "--spacing")
        left_out = numbers(without, int, "--without")
        folder = simulate_dataset(disease, out, cases, seed, steps, left_out, jobs, on_event, cancel)
        on_event(Result({"patients": cases, "folder": folder}))


@app.command(epilog="Example: transferseg sample --out trial")
@takes(Reporting, "reporting", REPORT_PANEL)
def sample(out: Out, reporting: Reporting) -> None:
    """Make one small simulated patient with a glioma, always the same, to try things on."""
    with session(reporting) as (on_event, _):
        from .events import Result
        from .simulate import write_sample_case

        on_event(Result({"folder": write_sample_case(out)}))


@app.command(epilog="Example: transferseg transplant ms_cases --into simulated --cases 40 --out transplanted")
@takes(Reporting, "reporting", REPORT_PANEL)
def transplant(
    donors: Dataset,
    out: Out,
    reporting: Reporting,
    into: Annotated[str, typer.Option(help="Dataset whose brains receive the lesions. Default: the donors.")] = "",
    cases: Annotated[int, typer.Option(help="How many cases to make.")] = 10,
    labels: Labels = "",
    channels: Channels = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same cases.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes; 0: what processors and memory allow.")] = 0,
) -> None:
    """Put annotated lesions of one patient into the brain of another: more training cases out of few."""
    with session(reporting) as (on_event, cancel):
        from .case_files import CHANNELS
        from .transplant import transplant_dataset

        transplant_dataset(
            donors,
            out,
            cases,
            into or None,
            labels or None,
            split_names(channels) or CHANNELS,
            seed,
            jobs,
            on_event,
            cancel,
        )


@app.command(epilog="Example: transferseg demo --out demo")
@takes(Reporting, "reporting", REPORT_PANEL)
def demo(out: Out = Path("demo"), *, reporting: Reporting) -> None:
    """The whole story in minutes, on simulated patients it makes itself."""
    with session(reporting) as (on_event, cancel):
        from .demo import run_demo

        table = run_demo(out, on_event, cancel)
    if not reporting.events:
        print_table(table)


app.command(epilog="Example: transferseg compare my_cases --source glioma --spacing 2 --out which")(compare)
app.command(epilog="Example: transferseg study brats --source ms-lesion --protocol desk --workers 0 --out study")(study)
app.add_typer(models, name="models")


def _train(
    reporting: Reporting,
    recipe: Callable[[], Recipe],
    preparation: Callable[[], Preparation],
    dataset: str,
    out: Path,
    **options: Any,
) -> None:
    with session(reporting) as (on_event, cancel):
        wanted, prepared = recipe(), preparation()
        from .distributed import leads
        from .events import Message
        from .lock import hold
        from .runs import fine_tune

        with hold(out) if leads() else nullcontext():  # of torchrun's processes one is enough
            run = fine_tune(
                dataset, out, recipe=wanted, preparation=prepared, on_event=on_event, cancel=cancel, **options
            )
        if run.cancelled:
            on_event(Message("train", "Stopped on request. The best model so far is kept; --resume goes on."))
    if run.held_out is not None and not reporting.events:
        print_table(run.held_out.to_table())
    if run.cancelled:
        raise typer.Exit(3)


def _cases(texts: Sequence[str], channels: Sequence[str]) -> list[CaseFiles]:
    from .datasets import parse_case

    return [case for text in texts for case in parse_case(text, channels).cases]
