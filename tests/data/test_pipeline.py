"""data/pipeline.py: a batch is a function of (seed, step), whoever loads it; and loading stops when nobody wants it."""

import dataclasses
import gc
import threading
import tracemalloc

import jax
import numpy as np
import pytest

from cnnvision.data import order, pipeline
from cnnvision.data.wrappers.cache import CachedSource
from cnnvision.errors import ConfigError, DataError
from cnnvision.inputs import InputSpec, ProposalSpec
from tests.data.drawn import Drawn
from tests.data.loading import SPEC, eventually, options, same


def reference(steps=9, spec=SPEC, **changes):
    return list(pipeline.train_batches(Drawn(), spec, options(**changes), 3, 0, steps))


# What is in a batch -------------------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_order():
    for loaded in reference():
        indices, _ = order.batch_indices(20, 6, 3, loaded.step)
        np.testing.assert_array_equal(loaded.batch.index, indices)
        assert loaded.batch.valid.all() and loaded.failures == () and loaded.dropped_objects == 0


def test_steps_count_and_sizes_change():
    batches = reference()
    assert [loaded.step for loaded in batches] == list(range(9))
    sizes = [loaded.batch.image.shape[1:3] for loaded in batches]
    assert sizes == [SPEC.sizes[order.bucket(3, step, 2)] for step in range(9)] and len(set(sizes)) == 2


def test_seeds_and_epochs_change_the_augmentation():
    """20 examples, 6 a batch: each comes again within 9 batches, and never as it was."""
    seen = {}
    for loaded in reference(spec=InputSpec(sizes=((32, 32),), target="class")):
        for index, transform in zip(loaded.batch.index, loaded.batch.transform, strict=True):
            assert seen.setdefault(int(index), transform) is transform or (seen[int(index)] != transform).any()
    other = next(pipeline.train_batches(Drawn(), SPEC, options(), 4, 0, 1))
    assert (other.batch.index != reference(1)[0].batch.index).any()


@pytest.mark.parametrize(
    "changes", [{"threads": 1}, {"threads": 4}, {"threads": 3, "prefetch": 1}, {"cache_mb": 50, "threads": 2}]
)
def test_batches_do_not_depend_on_who_loads_them(changes):
    same(reference(), list(pipeline.train_batches(Drawn(), SPEC, options(**changes), 3, 0, 9)))


@pytest.mark.parametrize("start", [1, 5, 8, 9, 12])
def test_batches_do_not_depend_on_where_a_run_begins(start):
    same(reference()[start:], list(pipeline.train_batches(Drawn(), SPEC, options(threads=2), 3, start, 9)))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_the_rows_of_each_batch(processes):
    shares = [list(pipeline.train_batches(Drawn(), SPEC, options(), 3, 0, 5, i, processes)) for i in range(processes)]
    whole = [jax.tree.map(lambda *rows: np.concatenate(rows), *[s[step].batch for s in shares]) for step in range(5)]
    same([loaded.batch for loaded in reference(5)], whole)


def test_evaluation_sees_every_example_once_in_order():
    batches = list(pipeline.eval_batches(Drawn(), SPEC, options()))
    assert [loaded.step for loaded in batches] == [0, 1, 2, 3]
    index = np.concatenate([loaded.batch.index[loaded.batch.valid] for loaded in batches])
    np.testing.assert_array_equal(index, np.arange(20))
    assert all(loaded.batch.image.shape == (6, 32, 32, 3) for loaded in batches)
    np.testing.assert_array_equal(batches[3].batch.valid, [True, True, False, False, False, False])
    np.testing.assert_allclose(batches[0].batch.transform[0, 0, 1], 0)  # not turned
    same(batches, list(pipeline.eval_batches(Drawn(), SPEC, options(augment={}, threads=2, cache_mb=9))))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_an_evaluation_in_equally_many_batches(processes):
    shares = [list(pipeline.eval_batches(Drawn(), SPEC, options(), i, processes)) for i in range(processes)]
    assert {len(share) for share in shares} == {4}
    whole = [jax.tree.map(lambda *rows: np.concatenate(rows), *[s[step].batch for s in shares]) for step in range(4)]
    same([loaded.batch for loaded in pipeline.eval_batches(Drawn(), SPEC, options())], whole)


def test_dropped_objects_are_counted():
    spec = InputSpec(sizes=((64, 64),), target="objects", max_objects=1)
    dropped = sum(loaded.dropped_objects for loaded in pipeline.eval_batches(Drawn(), spec, options()))
    counts = [len(Drawn().read(i).objects.boxes) for i in range(20)]
    assert dropped == sum(max(0, count - 1) for count in counts) > 0


def test_a_localizer_keeps_its_object():
    spec = InputSpec(sizes=((32, 32),), target="objects", objects="largest")
    hard = {"crop_area": (0.1, 0.2), "rotate": 45.0, "translate": 0.5}
    for loaded in pipeline.train_batches(Drawn(), spec, options(augment=hard), 0, 0, 20):
        some = loaded.batch.index % 5 != 4  # every fifth image has no object at all
        np.testing.assert_array_equal(loaded.batch.target.valid[:, 0], some)


SSD = {"flip": 0.5, "zoom_out": (1.0, 4.0), "iou_crop": 1.0}


def test_ssds_crops_keep_an_object_with_its_mask():
    spec = InputSpec(sizes=((96, 96),), target="objects", max_objects=3, mask_side=7)
    for loaded in pipeline.train_batches(Drawn(), spec, options(augment=SSD), 3, 0, 20):
        some, target = loaded.batch.index % 5 != 4, loaded.batch.target  # every fifth image has no object at all
        np.testing.assert_array_equal(target.valid.any(axis=1), some)
        assert target.masks[target.valid].any(axis=(1, 2)).all() and loaded.dropped_objects == 0
    same(reference(4, augment=SSD), list(pipeline.train_batches(Drawn(), SPEC, options(augment=SSD, threads=3), 3, 0, 4)))


class OfCrowds(Drawn):
    """All of its objects are crowds."""

    def read(self, *args, **options):
        example = super().read(*args, **options)
        crowd = np.ones_like(example.objects.crowd)
        return dataclasses.replace(example, objects=dataclasses.replace(example.objects, crowd=crowd))


def test_crowds_are_not_cut_around():
    spec, cut = InputSpec(sizes=((32, 32),), target="objects", max_objects=3), options(augment={"iou_crop": 1.0})
    whole = [loaded.batch for loaded in pipeline.train_batches(OfCrowds(), spec, options(augment={}), 3, 0, 4)]
    same(whole, [loaded.batch for loaded in pipeline.train_batches(OfCrowds(), spec, cut, 3, 0, 4)])


# What goes wrong ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 2])
def test_unreadable_examples_become_invalid_rows_each_time(threads):
    source, found = Drawn(broken=(3, 7)), []
    for loaded in pipeline.train_batches(source, SPEC, options(threads=threads), 3, 0, 10):
        index, _ = order.batch_indices(20, 6, 3, loaded.step)
        np.testing.assert_array_equal(loaded.batch.valid, ~np.isin(index, [3, 7]))
        assert len(loaded.failures) == np.isin(index, [3, 7]).sum()
        assert not loaded.batch.target.valid[~loaded.batch.valid].any()
        found += loaded.failures
    assert len(found) == 6  # three epochs of two
    assert {problem.file for problem in found} == {"image 3", "image 7"}
    assert "cannot be read: image 3 is broken" in str(next(p for p in found if p.file == "image 3"))
    assert found[0].effect == "left out"


def test_nothing_readable_is_an_error_after_a_few_batches():
    batches = pipeline.train_batches(Drawn(broken=range(20)), SPEC, options(threads=1), 3, 0, 100)
    assert not next(batches).batch.valid.any()
    next(batches)
    with pytest.raises(DataError, match=r"drawn: not one example of the last 3 batches could be read.*is broken"):
        next(batches)


def test_faults_of_the_package_are_not_swallowed():
    class Odd(Drawn):
        def read(self, index, image=True, masks=False):
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        next(pipeline.train_batches(Odd(), SPEC, options(threads=2), 3, 0, 5))


def test_wrong_requests_are_refused_when_asked_for():
    """Before the first batch is drawn, not when it is."""
    with pytest.raises(ConfigError, match="multiple of their number, 4"):
        pipeline.train_batches(Drawn(), SPEC, options(), 0, 0, 1, 0, 4)
    with pytest.raises(ConfigError, match="eval_batch_size = 6"):
        pipeline.eval_batches(Drawn(), SPEC, options(), 0, 4)
    with pytest.raises(DataError, match=r"drawn \(train\): no usable example"):
        pipeline.eval_batches(Drawn(0), SPEC, options())
    for target in ("semantic", "class"):
        spec = InputSpec(sizes=((32, 32),), target=target)
        with pytest.raises(ConfigError, match=r"augment.iou_crop = 1.0: cuts around the boxes that a model learns"):
            pipeline.train_batches(Drawn(), spec, options(augment=SSD), 0, 0, 1)


def test_sources_that_lack_what_a_model_learns():
    class Boxless(Drawn):
        semantic_classes = ()

        def read(self, index, image=True, masks=False):
            example = super().read(index, image, masks)
            return type(example)(example.id, example.size, example.image, 0)

    with pytest.raises(ConfigError, match="drawn: the model learns semantic maps, and this source has none"):
        pipeline.train_batches(Boxless(), InputSpec(sizes=((32, 32),), target="semantic"), options(), 0, 0, 1)
    with pytest.raises(ConfigError, match="drawn: this model learns boxes"):
        next(pipeline.train_batches(Boxless(), SPEC, options(threads=1), 0, 0, 1))
    with pytest.raises(ConfigError, match="drawn: this model learns boxes"):
        next(pipeline.train_batches(Boxless(), SPEC, options(augment=SSD), 0, 0, 1))
    spec = InputSpec(sizes=((32, 32),), target="objects", max_objects=3, proposals=ProposalSpec("random", 5))
    with pytest.raises(ConfigError, match="drawn: this model looks at proposals, and the examples have none"):
        next(pipeline.train_batches(Drawn(), spec, options(threads=1), 0, 0, 1))


def test_labels_outside_the_classes_are_caught():
    class Fewer(Drawn):
        classes = ("red",)

    with pytest.raises(ValueError, match=r"target.labels: [12] .* must be in \[0, 1\)"):
        list(pipeline.train_batches(Fewer(), SPEC, options(), 0, 0, 5))


# Ends ---------------------------------------------------------------------------------------------------------------------


def loaders():
    return [thread for thread in threading.enumerate() if "grain-prefetch" in thread.name]


class Slow(Drawn):
    """Reading blocks until the test lets it go on."""

    def __init__(self):
        super().__init__()
        self.free = threading.Event()

    def read(self, index, image=True, masks=False):
        if self.reads >= 6:
            self.free.wait(20)
        return super().read(index, image, masks)


@pytest.mark.parametrize("how", ["close", "collect", "error"])
def test_threads_end_with_the_iterator_and_finish_no_batch_for_nobody(how):
    source = Slow()
    batches = pipeline.train_batches(source, SPEC, options(threads=1, prefetch=4), 3, 0, 1000)
    next(batches)
    assert loaders()
    if how == "close":
        batches.close()
    elif how == "collect":
        del batches
        gc.collect()
    else:
        with pytest.raises(KeyboardInterrupt):
            batches.throw(KeyboardInterrupt())
    source.free.set()
    assert eventually(lambda: not loaders())
    assert source.reads <= 8  # the example that was being read, and none after it


def test_memory_does_not_grow():
    """Between two moments 80 batches apart, of which each has 8 kB; up to six are held or being made at one moment."""
    spec = InputSpec(sizes=((16, 16),), target="objects", max_objects=3)
    source = CachedSource(Drawn(), 50)
    held = []
    tracemalloc.start()
    for loaded in pipeline.train_batches(source, spec, options(batch_size=8, threads=2), 0, 0, 100):
        if loaded.step in (15, 95):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 80 * 8_000 / 5
