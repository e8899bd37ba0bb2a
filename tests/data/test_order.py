"""data/order.py: what a training stream must keep to, and its draws against a plain rendering of their definition."""

import hashlib

import numpy as np
import pytest

from cnnvision.data import order
from cnnvision.errors import ConfigError


def stream(count, batch_size, seed, steps):
    batches = [order.batch_indices(count, batch_size, seed, step) for step in range(steps)]
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


@pytest.mark.parametrize(("count", "batch_size"), [(1, 4), (3, 4), (4, 4), (7, 4), (10, 3), (64, 1)])
def test_each_epoch_has_each_example_once(count, batch_size):
    indices, epochs = stream(count, batch_size, 5, 3 * count)
    assert indices.dtype == epochs.dtype == np.int64
    np.testing.assert_array_equal(epochs, np.arange(3 * count * batch_size) // count)
    for epoch in range(3 * batch_size):
        assert sorted(indices[epochs == epoch]) == list(range(count))


def test_epochs_and_seeds_differ():
    orders = {tuple(order.permutation(seed, epoch, 50)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_permutation_is_the_order_of_its_random_keys():
    """By hand: BLAKE2b of the parts keys Philox, whose raw stream NumPy never changes; indices sorted by (key, index)."""
    text = b"5:s:order;1:i:7;1:i:2;"
    key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
    keys = np.random.Philox(key=key).random_raw(40)
    assert list(order.permutation(7, 2, 40)) == sorted(range(40), key=lambda i: (int(keys[i]), i))


def test_permutation_is_shared_and_cannot_be_changed():
    order.permutation.cache_clear()
    for step in range(50):
        order.batch_indices(100_000, 64, 1, step)
    assert order.permutation.cache_info().misses == 1
    with pytest.raises(ValueError, match="read-only"):
        order.permutation(1, 0, 100_000)[0] = 3


def test_late_steps():
    indices, epochs = order.batch_indices(1000, 8, 0, 10**12)
    np.testing.assert_array_equal(epochs, 8 * 10**9)
    assert len(set(indices)) == 8


@pytest.mark.parametrize("wrong", [(0, 4, 0, 0), (4, 0, 0, 0), (4, 4, 0, -1)])
def test_impossible_batches(wrong):
    with pytest.raises(ValueError, match="batch_indices"):
        order.batch_indices(*wrong)


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_processes_share_all_rows(processes):
    rows = [list(range(12))[order.rows_of_process(12, i, processes)] for i in range(processes)]
    assert [row for share in rows for row in share] == list(range(12))
    assert len({len(share) for share in rows}) == 1


def test_batch_size_must_be_a_multiple_of_the_processes():
    with pytest.raises(ConfigError, match=r"config.data.eval_batch_size = 10.*multiple of their number, 4"):
        order.rows_of_process(10, 0, 4, "eval_batch_size")
    with pytest.raises(ValueError, match="no process 4"):
        order.rows_of_process(8, 4, 4)


def test_buckets_depend_on_seed_and_step_and_are_all_used():
    drawn = [order.bucket(3, step, 4) for step in range(400)]
    assert drawn == [order.bucket(3, step, 4) for step in range(400)]
    counts = np.bincount(drawn, minlength=4)
    assert counts.min() > 60 and counts.sum() == 400
    assert drawn != [order.bucket(4, step, 4) for step in range(400)]


def test_examples_have_generators_of_their_own():
    draws = {
        (seed, epoch, example): order.example_rng(seed, epoch, example).random()
        for seed in (0, 1)
        for epoch in (0, 1, 11)
        for example in ("a", "1", 1, "11")
    }
    assert len(set(draws.values())) == len(draws)
    assert order.example_rng(0, 1, "a").random() == draws[0, 1, "a"]


def test_fingerprint_tells_order_and_borders():
    prints = [order.fingerprint(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], [], ["1:a"], ["a"])]
    assert len(set(prints)) == len(prints)
    assert order.fingerprint(("a", "b")) == prints[0] == order.fingerprint(iter(["a", "b"]))
    assert order.fingerprint([]) == hashlib.sha256().hexdigest()
