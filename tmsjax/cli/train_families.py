"""What ``tmsjax train`` does for each family of models."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

    from tmsjax.cli.train import TrainOptions
    from tmsjax.surrogate import CnnSpec, Surrogate, SurrogateSpec, UniformMap
    from tmsjax.surrogate.search import Trial
    from tmsjax.surrogate.source import Examples


class Job(NamedTuple):
    """What a family is trained with."""

    options: TrainOptions
    spec: SurrogateSpec
    data: Examples
    table: UniformMap | None
    stages: Any
    console: Console


def support(job: Job) -> tuple[Surrogate, dict[str, Any]]:
    """The support-function model, from the polarisation of the cell's ends unless that is not wanted."""
    import tmsjax as tj
    from tmsjax.surrogate import polarisation, polarised, polynomial

    options, spec, data, table, stages, _ = job
    sites, training = None, polynomial.TRAINING
    if options.polarisation:
        with stages("polarisation") as say:
            cell = tj.cells.load(spec.cell, root=options.cells)
            sites = polarisation.of_patches(cell, spec.pulse, spec.n, spec.side_mm, spec.z_shift_mm)
            training = polarised.TRAINING
            say(f"{len(sites)} ends of the axon")
    with stages("training") as say:
        return tj.surrogate.train(
            data.patches,
            data.v_per_m,
            spec,
            options.seed,
            sites=sites,
            groups=data.site,
            initiation=data.initiation,
            candidates=[degrees for degrees in polynomial.CANDIDATES if max(degrees) < spec.n],
            uniform=table,
            training=dataclasses.replace(training, epochs=options.epochs or training.epochs),
            folder=None if options.checkpoints is None else options.checkpoints / "support",
            progress=say,
        )


def network(job: Job) -> tuple[Surrogate, dict[str, Any]]:
    """The network, or the best of a search."""
    import tmsjax as tj
    from tmsjax.surrogate import cnn_train, search

    options, spec, data, table, stages, console = job
    paper = options.schedule == "paper"
    training = cnn_train.PAPER_TRAINING if paper else cnn_train.SHORT_TRAINING
    training = dataclasses.replace(training, epochs=options.epochs or training.epochs)
    if options.search:
        with stages("search") as say:
            trials = search.search(
                data.patches,
                data.v_per_m,
                spec,
                options.seed,
                trials=options.search,
                groups=data.site,
                training=training,
                ranges=search.PAPER_RANGES if paper else search.SHORT_RANGES,
                folder=options.checkpoints / "search",  # pyright: ignore[reportOptionalOperand]
                progress=say,
            )
            say(f"trial {trials[0].number + 1} of {len(trials)}: loss {trials[0].loss:.4g}")
        for trial in trials[:5]:
            console.print(_told(trial), highlight=False, markup=False)
        spec, training = dataclasses.replace(spec, model=trials[0].model), trials[0].training
    with stages("training") as say:
        return tj.surrogate.train_cnn(
            data.patches,
            data.v_per_m,
            spec,
            options.seed,
            groups=data.site,
            uniform=table,
            training=training,
            folder=None if options.checkpoints is None else options.checkpoints / "cnn",
            progress=say,
        )


def baseline(job: Job) -> tuple[Surrogate, dict[str, Any]]:
    """A model that is not trained but counted."""
    from tmsjax.surrogate import train_baseline

    options, spec, data, table, _, _ = job
    return train_baseline(data.patches, data.v_per_m, spec, options.seed, groups=data.site, uniform=table)


def network_model(options: TrainOptions, samples: int) -> CnnSpec:
    """The network of the schedule; the paper's variable size for fewer samples than 9."""
    from tmsjax.surrogate import CnnSpec, cnn, cnn_train

    model = CnnSpec() if options.schedule == "paper" else cnn_train.SHORT_MODEL
    if samples == 9:
        return model
    small = cnn.variable_size(samples)
    return dataclasses.replace(model, kernel=small.kernel, conv_layers=small.conv_layers)


def _told(trial: Trial) -> str:
    m, how = trial.model, trial.training
    return (
        f"trial {trial.number + 1}: loss {trial.loss:.4g}, {m.conv_layers} convolutions of {m.kernel} from {m.filters} "
        f"filters, {m.dense_layers} dense layers from {m.units} units, shrink {m.shrink:.2f}, {m.activation}, dropout "
        f"{m.dropout:.2f}, batch norm {m.batch_norm or 'off'}, batch {how.batch}, rate {how.learning_rate:.2g}"
    )


FITTED = {"support": support, "fast": support, "cnn": network, "uniform": baseline, "weise": baseline}
