"""Batches, loaded ahead of time by threads or worker processes.

A batch is a pure function of (seed, step): `TrainLoader` and `EvalLoader` are those functions, and everything else here
decides when and where they are called. So a run goes on from any step without stored iterators, and batches are the same,
bit for bit, for any number of threads and workers; any number of processes (hosts) shares the rows of each.

An example that cannot be read becomes a row with `valid` False, and is reported with the batch.
"""

import atexit
import dataclasses
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import grain
import numpy as np

from cnnvision.data import order
from cnnvision.data.augment import Row, apply, resized, sample
from cnnvision.data.augment.windows import Tile, all_tiles, cut_tile, cut_window, sample_window
from cnnvision.data.batching import make_batch, validate
from cnnvision.data.faults import RecordError
from cnnvision.data.options import DataSettings
from cnnvision.data.worker import WorkerStart, from_workers, parse_flags, release_shared_memory
from cnnvision.data.wrappers.cache import LastRead, cached
from cnnvision.errors import ConfigError, DataError
from cnnvision.inputs import InputSpec
from cnnvision.types import Batch, Problem, Source

MOST_FAILED_BATCHES = 3
"""Batches in a row without one readable example, after which loading stops with an error."""


class Loaded(NamedTuple):
    """One batch, as it comes out of the pipeline.

    Attributes:
        step: number of the batch, from 0.
        batch: this process's rows, NumPy arrays.
        failures: one problem for each row that could not be read; its row is not valid.
        dropped_objects: objects left out because they were more than the spec's `max_objects`, or no pixel of their mask was
            left.
    """

    step: int
    batch: Batch
    failures: tuple[Problem, ...]
    dropped_objects: int


class Stopped(Exception):
    """Raised inside loading threads when nobody waits for their batches any more."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Reads single rows. Picklable; a copy in another process has a `stop` of its own."""

    source: Source
    spec: InputSpec
    stop: threading.Event = dataclasses.field(default_factory=threading.Event, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.spec)

    def read(self, index: int, make: Callable[[Any], Row]) -> Row | Problem:
        """The row of one example, or why there is none. `make` makes the row from the `Example`."""
        if self.stop.is_set() or not threading.main_thread().is_alive():
            raise Stopped
        maps = self.spec.target == "semantic" and ("semantic" if self.spec.border is None else "cells")
        try:
            example = self.source.read(index, image=True, masks="objects" if self.spec.mask_side else maps)
        except RecordError as error:
            return error.problem
        except (DataError, OSError) as error:
            cure = "Mend or remove it; as long as it stays, its rows count for nothing."
            return Problem(self.source.ids[index], "", "", "", f"cannot be read: {error}", cure, "left out")
        return make(example)

    def load(self, step: int, rows: list[Row | Problem | None], size: tuple[int, int]) -> Loaded:
        """Rows, problems instead of rows, and None for rows that only fill up -> the batch of a step."""
        failures = tuple(row for row in rows if isinstance(row, Problem))
        good = [row if isinstance(row, Row) else None for row in rows]
        try:
            batch, dropped = make_batch(good, self.spec, size)
        except ConfigError as error:
            raise ConfigError(f"{self.source.name}: {error}") from error
        validate(batch, len(self.source.classes), len(self.source.semantic_classes))
        return Loaded(step, batch, failures, dropped)


@dataclasses.dataclass(frozen=True)
class TrainLoader:
    """step -> `Loaded`, this process's rows of the training batch.

    Attributes:
        rows: the source and what to make of it.
        settings: batch size of all processes, and augmentation.
        seed: of the run.
        share: rows of this process within the global batch.
    """

    rows: Rows
    settings: DataSettings
    seed: int
    share: slice

    def __call__(self, step: int) -> Loaded:
        source, spec = self.rows.source, self.rows.spec
        indices, epochs = order.batch_indices(len(source), self.settings.batch_size, self.seed, step)
        size = spec.sizes[order.bucket(self.seed, step, len(spec.sizes))]
        rows = [
            self._row(int(index), int(epoch), size)
            for index, epoch in zip(indices[self.share], epochs[self.share], strict=True)
        ]
        return self.rows.load(step, rows, size)

    def _row(self, index: int, epoch: int, size: tuple[int, int]) -> Row | Problem:
        spec, augment = self.rows.spec, self.settings.augment

        def make(example):
            rng = order.example_rng(self.seed, epoch, example.id)
            if spec.resize == "tile":
                return cut_window(sample_window(rng, augment, example.size, size, spec.lost), example, index, spec)
            boxes = None if example.objects is None else example.objects.boxes[~example.objects.crowd]
            drawn = sample(rng, augment, example.size, size, spec, _box_to_keep(example, spec), boxes)
            return apply(drawn, example, index, augment.min_visible)

        return self.rows.read(index, make)


def _box_to_keep(example: Any, spec: InputSpec) -> np.ndarray | None:
    """The box that an augmentation must not lose: that of the only object which the target is about."""
    about_one = spec.objects == "largest" or (spec.target == "class" and example.label is None)
    largest = example.objects.largest() if about_one and example.objects is not None else None
    return None if largest is None else example.objects.boxes[largest]


@dataclasses.dataclass(frozen=True)
class EvalLoader:
    """step -> `Loaded`: the split in its own order, without augmentation; the last batch is filled up.

    Attributes:
        rows: the source and what to make of it.
        batch_size: of all processes.
        share: rows of this process within the global batch.
        tiles: for resize "tile": (index, tile) of each row of the whole split; None where each example is one row.
    """

    rows: Rows
    batch_size: int
    share: slice
    tiles: tuple[tuple[int, Tile], ...] | None = None

    @property
    def steps(self) -> int:
        """How many batches there are."""
        return -(-len(self.rows.source if self.tiles is None else self.tiles) // self.batch_size)

    def __call__(self, step: int) -> Loaded:
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)[self.share]
        return self.rows.load(step, [self._row(position) for position in positions], self.rows.spec.sizes[0])

    def _row(self, position: int) -> Row | Problem | None:
        spec, size = self.rows.spec, self.rows.spec.sizes[0]
        if self.tiles is None:
            make = lambda example: apply(resized(example.size, size, spec), example, position)
            return self.rows.read(position, make) if position < len(self.rows.source) else None
        if position >= len(self.tiles):
            return None
        index, tile = self.tiles[position]
        return self.rows.read(index, lambda example: cut_tile(tile, example, index, spec))


def train_batches(
    source: Source,
    spec: InputSpec,
    settings: DataSettings,
    seed: int,
    start_step: int,
    stop_step: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Loaded]:
    """The training batches of steps [start_step, stop_step), in order.

    Args:
        source: the training split.
        spec: what goes into a batch.
        settings: sizes of batches, augmentation, and how they are loaded.
        seed: of the run.
        process_index, process_count: which process of how many this is; it gets its share of each batch's rows.

    Returns:
        A generator. Closing it (or leaving it to be collected) stops its threads and processes.

    Raises:
        ConfigError: an augmentation does nothing with the spec's `resize` or target, or the batch size is no multiple of the
            number of processes.
        DataError: the source is empty; later, while batches are drawn: nothing can be read any more.
    """
    _check(source, spec)
    settings.augment.check_resize(spec.resize)
    settings.augment.check_target(spec.target)
    share = order.rows_of_process(settings.batch_size, process_index, process_count)
    rows = Rows(cached(source, settings.cache_mb), spec)
    return _closed_at_exit(_ahead(TrainLoader(rows, settings, seed, share), rows, start_step, stop_step, settings))


def eval_batches(
    source: Source,
    spec: InputSpec,
    settings: DataSettings,
    process_index: int = 0,
    process_count: int = 1,
    start: int = 0,
) -> Iterator[Loaded]:
    """Every example of a split once, in the order of its ids, without augmentation.

    Args:
        source: the split.
        spec: what goes into a batch; the first of its sizes is used.
        settings: `eval_batch_size` rows of all processes make a batch (the last is padded); and how they are loaded.
        process_index, process_count: as for `train_batches`; each process gets equally many batches.
        start: the batch to begin with.

    Returns:
        A generator, as of `train_batches`.

    Raises:
        ConfigError, DataError: as `train_batches`.
    """
    _check(source, spec)
    share = order.rows_of_process(settings.eval_batch_size, process_index, process_count, "eval_batch_size")
    rows = Rows(LastRead(cached(source, settings.cache_mb)), spec)
    loader = EvalLoader(rows, settings.eval_batch_size, share, all_tiles(source, spec) if spec.resize == "tile" else None)
    return _closed_at_exit(_ahead(loader, rows, start, loader.steps, settings, patient=True))


def _check(source: Source, spec: InputSpec) -> None:
    """Refuses what could only fail later: an empty source, or maps that do not exist."""
    if not len(source):
        raise DataError(f"{source.name} ({source.split}): no usable example.")
    if spec.target == "semantic" and not source.semantic_classes:
        raise ConfigError(f"{source.name}: the model learns semantic maps, and this source has none.")


def _ahead(
    load: Callable[[int], Loaded], rows: Rows, start: int, stop: int, settings: DataSettings, patient: bool = False
) -> Generator[Loaded, None, None]:
    """Yields load(start) … load(stop − 1) in order, loaded ahead of time as `settings` say.

    Raises DataError after several batches in a row of which nothing could be read, unless `patient`.
    """
    if stop <= start:
        return
    steps = grain.MapDataset.range(start, stop).map(load)
    threads = min(settings.threads, settings.prefetch)
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=settings.prefetch if threads else 0)
    dataset = steps.to_iter_dataset(ahead)
    workers = min(settings.workers, stop - start)
    if workers:
        parse_flags()
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=settings.prefetch)
        dataset = dataset.mp_prefetch(processes, worker_init_fn=WorkerStart())
    batches = iter(dataset)
    failed = 0
    try:
        for loaded in from_workers(batches, workers) if workers else batches:
            failed = failed + 1 if loaded.failures and not loaded.batch.valid.any() else 0
            if failed == MOST_FAILED_BATCHES and not patient:
                raise DataError(
                    f"{rows.source.name}: not one example of the last {failed} batches could be read. The last problem:"
                    f" {loaded.failures[-1]}"
                )
            yield loaded
    finally:
        rows.stop.set()
        batches.close()
        if workers:
            release_shared_memory()


_open: weakref.WeakSet[Generator[Loaded, None, None]] = weakref.WeakSet()


def _closed_at_exit(batches: Generator[Loaded, None, None]) -> Generator[Loaded, None, None]:
    """The same; what is still open when the interpreter exits is closed while the modules that this takes are all there."""
    _open.add(batches)
    return batches


@atexit.register
def _close_all() -> None:
    for batches in list(_open):
        batches.close()
