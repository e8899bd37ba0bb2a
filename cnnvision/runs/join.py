"""Joins a config, its data and its model into a run; opens the folder of a run that was made."""

import dataclasses
import functools

import jax
from etils import epath
from ml_collections import ConfigDict

from cnnvision.data import batching, faults, order, pipeline
from cnnvision.data.augment.wholes import Wholes
from cnnvision.data.fingerprint import fingerprint_of
from cnnvision.data.opening import open_beside
from cnnvision.data.options import DataSettings
from cnnvision.data.sources import open_source
from cnnvision.data.wrappers.cache import cached
from cnnvision.data.wrappers.proposals import prepare, with_proposals
from cnnvision.data.wrappers.subset import Subset, usable
from cnnvision.errors import ConfigError, DataError
from cnnvision.inputs import MASKS_CURE, InputSpec
from cnnvision.installation import typed
from cnnvision.models import make_task
from cnnvision.models.binding import named_sizes
from cnnvision.runs import config_json
from cnnvision.runs.network import names_of
from cnnvision.runs.reach import SEEN, beyond_reach
from cnnvision.runs.start import with_start
from cnnvision.settings import check_name, read
from cnnvision.storage import check_writable, path_of
from cnnvision.task import DataInfo, Task
from cnnvision.training.evaluate import SplitEvaluation
from cnnvision.training.optimizer import make_optimizer
from cnnvision.training.run import Run
from cnnvision.training.settings import TrainingSettings
from cnnvision.training.sharding import check_batch_size, make_mesh
from cnnvision.types import Batch, Source


def data_info(source: Source) -> DataInfo:
    """What a task must know of a source."""
    ids = tuple(getattr(source, "category_ids", ()))
    return DataInfo(tuple(source.classes), tuple(source.semantic_classes), dict(source.area_ranges), ids)


SECTIONS = ("data", "model", "optimizer", "training")
"""Of a config."""


def check_config(config: ConfigDict, devices: int) -> None:
    """Raises ConfigError for other sections than there are, and for values of all but `model` that no run on so many devices
    can use."""
    for name in {**config, **dict.fromkeys(SECTIONS)}:
        check_name("config", name, SECTIONS)
        if not hasattr(config.get(name), "items"):
            raise ConfigError(
                f"config.{name}: must be a section; get_config() begins with base(), which makes it, and adds model"
            )
    data, training = loading(config), read(TrainingSettings, config.training, "config.training")
    data.augment.check_resize(data.resize)
    make_optimizer(config.optimizer, training.steps, {})
    check_batch_size(data.batch_size, devices, training.accumulate)
    check_batch_size(data.eval_batch_size, devices, key="config.data.eval_batch_size")


def check_size(task: Task, config: ConfigDict) -> None:
    """Raises ConfigError for an input size that the network's strides do not divide."""
    multiple = task.inputs.multiple_of
    for key, size in named_sizes(config.data):
        if any(side % multiple for side in size):
            near = tuple(max(multiple, round(side / multiple) * multiple) for side in size)
            raise ConfigError(f"{key}: {size} must be multiples of {multiple} for this network, e.g. {near}")


def loading(config: ConfigDict) -> DataSettings:
    """The settings of `config.data`."""
    return read(DataSettings, config.data, "config.data")


def empty_batch(task: Task, rows: int) -> Batch:
    """A batch of padding alone, in the task's first declared size: for its shapes."""
    return batching.empty_batch(task.inputs, rows)


def open_for(task: Task, info: DataInfo, name: str, split: str) -> Source:
    """A split to evaluate a task on, with the classes, and where it asks for them the classes of maps, that it has."""
    return open_beside(name, split, info.classes, info.semantic_classes if task.inputs.target == "semantic" else ())


def first(source: Source, count: int | None) -> Source:
    """The first `count` examples; all for None."""
    return source if count is None else Subset(source, range(min(count, len(source))))


def evaluation_of(
    task: Task, source: Source, config: ConfigDict, mesh: jax.sharding.Mesh, targets: bool = True
) -> SplitEvaluation:
    """How a source is evaluated under a config; with `targets` False, only predicted on."""
    options = loading(config)
    if targets:
        check_masks(source, task.inputs)
    inputs = with_room(task.inputs, source) if targets else dataclasses.replace(task.inputs, target=None)
    source = cached(with_proposals(source, inputs.proposals), options.cache_mb)
    batches = lambda: pipeline.eval_batches(source, inputs, options, jax.process_index(), jax.process_count())
    pictures = functools.partial(Wholes, source) if task.inputs.resize == "tile" else None
    return SplitEvaluation(task, source, batches, mesh, pictures)


def check_masks(source: Source, inputs: InputSpec, most: int = 1000) -> None:
    """Raises DataError where a model learns masks and the first objects of a source have none, looked for among the
    annotations of `most` examples."""
    for index in range(min(len(source), most) if inputs.mask_side else 0):
        try:
            objects = source.read(index, image=False, masks="objects").objects
        except DataError:  # said where it is read for training
            continue
        if objects is not None and len(objects.boxes):
            if objects.masks is None:
                where = f"{source.name} {source.split}: {source.ids[index]}"
                raise DataError(f"{where}: its objects have no masks, and this model learns masks. {MASKS_CURE}")
            return


def with_room(inputs: InputSpec, source: Source) -> InputSpec:
    """The inputs with room for all objects of each image, where their number is known without reading the images."""
    if inputs.target != "objects" or inputs.objects != "all" or not getattr(source, "annotations_at_hand", False):
        return inputs
    objects = (source.read(index, image=False).objects for index in range(len(source)))
    most = max((len(each.boxes) for each in objects if each is not None), default=0)
    return dataclasses.replace(inputs, max_objects=max(inputs.max_objects, most))


def problems_line(source: Source) -> str:
    """How many problems a source has, the command that lists them, and the gravest."""
    gravest = min(source.problems, key=lambda problem: faults.EFFECTS.index(problem.effect))
    return (
        f"{source.name} {source.split}: {len(source.problems)} problems ({faults.by_effect(source.problems)}); "
        f"`{typed(f'doctor --data={source.name}')}` lists them. The gravest: {gravest}"
    )


def join(config: ConfigDict, workdir: epath.PathLike, mesh: jax.sharding.Mesh | None = None, say=print) -> Run:
    """The run that a config describes, in a folder. Compares `config.json` where it is there; `Run.write_config` writes it.

    Raises:
        ConfigError, DataError: something of the config or the data cannot be used.
        RunError: the folder holds a run of another config.
    """
    mesh = mesh or make_mesh()
    check_config(config, mesh.size)
    jax.config.update("jax_default_matmul_precision", config.training.matmul_precision)
    workdir = path_of(workdir)
    check_writable(workdir)
    train_source = open_source(config.data.source, config.data.train_split)
    info = data_info(train_source)
    config_json.check(config, info, workdir)
    task = with_start(make_task(config, info), config, info, mesh)
    eval_source = open_for(task, info, config.data.source, config.data.eval_split)
    check_size(task, config)
    loading(config).augment.check_target(task.inputs.target)
    check_masks(train_source, task.inputs)
    selection = usable(train_source, task.inputs, loading(config).empty)
    if not len(selection.source):
        where = f"{config.data.source} {config.data.train_split}"
        raise DataError(f"{where}: {selection.reason}, so nothing is left to train on")
    for source in (train_source, eval_source):
        if source.problems:
            say(problems_line(source))
    if selection.reason:
        say(f"{config.data.source} {config.data.train_split}: {selection.reason}; they are left out")
    options = loading(config)
    proposing = with_proposals(selection.source, task.inputs.proposals)
    source, processes = cached(proposing, options.cache_mb), (jax.process_index(), jax.process_count())

    def train_batches(start, stop):
        if task.inputs.proposals:
            rows = order.rows_of_process(options.batch_size, *processes)
            indices = order.seen(len(proposing), options.batch_size, config.training.seed, start, stop, rows)
            prepare(proposing, indices, options.threads, say)
        return pipeline.train_batches(source, task.inputs, options, config.training.seed, start, stop, *processes)

    def fit_batches(examples, start):
        some = cached(first(proposing, examples), options.cache_mb)
        return pipeline.eval_batches(some, task.inputs, options, *processes, start)

    def opening():
        return [beyond_reach(task.ceiling, fit_batches(SEEN, 0), task.fitting)] if task.ceiling else []

    return Run(
        task=task,
        config=config,
        workdir=workdir,
        mesh=mesh,
        example_batch=empty_batch(task, config.data.batch_size),
        train_batches=train_batches,
        batch_size=config.data.batch_size,
        evaluation=evaluation_of(task, first(eval_source, config.data.eval_examples), config, mesh),
        classes=names_of(task, info),
        fit_batches=fit_batches,
        opening=opening,
        fingerprint=fingerprint_of(selection.source, config.data.source),
        write_config=lambda: config_json.write(config, info, workdir),
        say=say,
    )
