"""data/wrappers/cache.py: the same examples, read once, as many as there is room for."""

import concurrent.futures
import pickle

import numpy as np
import pytest

from cnnvision.data.wrappers.cache import CachedSource, LastRead, cached
from cnnvision.errors import DataError
from tests.data.drawn import Drawn


def test_examples_are_read_once_and_are_the_same():
    source = CachedSource(Drawn(6), 100)
    first = [source.read(i) for i in range(6)]
    assert source.source.reads == 6
    for i, example in enumerate(first):
        assert source.read(i) is example
        np.testing.assert_array_equal(example.image, Drawn(6).read(i).image)
    assert source.source.reads == 6 and len(source) == 6 and source.ids == Drawn(6).ids


def test_with_and_without_masks_are_two_things():
    source = CachedSource(Drawn(3), 100)
    assert source.read(0).objects.masks is None
    assert source.read(0, masks=True).objects.masks is not None
    assert source.read(0).objects.masks is None
    assert source.read(0, image=False).image is None


def test_room_is_kept():
    source = CachedSource(Drawn(200), 1)
    for i in range(200):
        source.read(i)
    held = sum(example.image.nbytes for example in source._examples.values())
    assert 0.9 * 2**20 < held <= 2**20
    before = source.source.reads
    kept = [index for index, _ in source._examples]
    for index in kept:
        source.read(index)
    assert source.source.reads == before  # nothing was evicted by what came later


def test_what_is_shared_cannot_be_changed():
    source = CachedSource(Drawn(3), 100)
    source.read(0, masks=True)
    example = source.read(0, masks=True)
    for array in (example.image, example.semantic, example.objects.boxes, example.objects.masks):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_copies_start_empty():
    source = CachedSource(Drawn(3), 100)
    source.read(0)
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000 and not copy._examples
    np.testing.assert_array_equal(copy.read(0).image, source.read(0).image)


def test_many_threads():
    source = CachedSource(Drawn(30), 100)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        examples = list(pool.map(lambda i: source.read(i % 30), range(600)))
    assert all(example.id == f"image {i % 30}" for i, example in enumerate(examples))
    assert len(source._examples) == 30
    assert source._bytes_left == 100 * 2**20 - sum(
        sum(a.nbytes for a in (e.image, e.objects.boxes, e.objects.labels, e.objects.crowd, e.objects.area))
        for e in source._examples.values()
    )


def test_cached_is_there_once_or_not_at_all():
    source = Drawn(3)
    assert cached(source, 0) is source
    once = cached(source, 5)
    assert cached(once, 7) is once


def test_why_an_example_could_not_be_read_is_remembered_too():
    source = LastRead(Drawn(3, broken=[1]))
    for _ in range(3):
        with pytest.raises(DataError, match="image 1 is broken"):
            source.read(1)
    assert source.source.reads == 1
    assert source.read(1, image=False).id == "image 1" and source.read(2).id == "image 2" and source.source.reads == 3
    with pytest.raises(DataError):
        source.read(1)
    assert source.source.reads == 4


def test_the_last_example_is_remembered_and_no_other():
    source = LastRead(Drawn(3))
    first = source.read(0, masks=True)
    assert source.read(0, masks=True) is first and source.source.reads == 1
    assert source.read(0).objects.masks is None and source.source.reads == 2
    source.read(1)
    np.testing.assert_array_equal(source.read(0).image, first.image)
    assert source.source.reads == 4 and len(source) == 3 and source.ids == Drawn(3).ids
    assert source.read(0, image=False).image is None and source.read(0) is source.read(0)
    assert pickle.loads(pickle.dumps(source))._last is None
