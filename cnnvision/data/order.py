"""Which examples stand in which batch: pure functions of (seed, step), so that nothing but a step needs to be stored.

The training stream is the concatenation of one permutation of all examples an epoch. Row i of step t stands at the global
position p = t * batch_size + i; its epoch is p // n and its example permutation(epoch)[p % n]. Nothing is dropped: a batch
may span two epochs, or many where n < batch_size. Every draw is keyed by what it belongs to (seed and epoch, step or
example), never by a worker, a host or a position in the batch.
"""

import functools
import hashlib
from collections.abc import Iterable

import numpy as np

from cnnvision.errors import ConfigError


def _key(*parts: int | str) -> int:
    """A 128-bit Philox key: BLAKE2b of the parts, each with its type and length, so that no two lists of parts agree."""
    text = b"".join(b"%d:%s:%s;" % (len(data), name, data) for name, data in map(_encode, parts))
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def _encode(part: int | str) -> tuple[bytes, bytes]:
    return (b"s", part.encode()) if isinstance(part, str) else (b"i", b"%d" % part)


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of range(count) for one epoch: int64 [count], read-only, and the same under every NumPy version.

    It sorts counter-based random keys: NumPy promises the raw streams of its bit generators for ever, but not what
    `Generator.permutation` makes of them. 64-bit keys practically never tie, and a stable sort decides if they do.
    """
    keys = np.random.Philox(key=_key("order", seed, epoch)).random_raw(count)
    order = np.argsort(keys, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def batch_indices(count: int, batch_size: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples of one training batch.

    Args:
        count: examples in the data set, at least 1.
        batch_size: rows of the global batch (over all processes), at least 1.
        seed: of the whole run.
        step: number of the batch, from 0.

    Returns:
        indices: int64 [batch_size], positions in the source's `ids`.
        epochs: int64 [batch_size], the epoch that each row belongs to, from 0.

    Raises:
        ValueError: for a count or batch size below 1 or a negative step.
    """
    if count < 1 or batch_size < 1 or step < 0:
        raise ValueError(f"batch_indices: count {count} and batch_size {batch_size} must be >= 1, step {step} >= 0")
    positions = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
    epochs, offsets = np.divmod(positions, count)
    indices = np.empty_like(positions)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        rows = epochs == epoch
        indices[rows] = permutation(seed, epoch, count)[offsets[rows]]
    return indices, epochs


def seen(count: int, batch_size: int, seed: int, start: int, stop: int, rows: slice) -> list[int]:
    """The examples in these rows (`rows_of_process`) of the batches of steps [start, stop), each once, in the order in
    which they are first asked for."""
    found: dict[int, None] = {}
    for step in range(start, stop):
        found |= dict.fromkeys(batch_indices(count, batch_size, seed, step)[0][rows].tolist())
        if len(found) == count:
            break
    return list(found)


def rows_of_process(batch_size: int, process_index: int, process_count: int, key: str = "batch_size") -> slice:
    """The rows of a global batch that one process loads: equal, contiguous shares in the order of the processes.

    Args:
        batch_size: rows of the global batch.
        process_index, process_count: which process of how many.
        key: of the batch size within `config.data`, for the error.

    Raises:
        ConfigError: where the batch size is no multiple of the number of processes.
        ValueError: where there is no such process.
    """
    if not 0 <= process_index < process_count:
        raise ValueError(f"rows_of_process: no process {process_index} among {process_count}")
    if batch_size < 1 or batch_size % process_count:
        raise ConfigError(
            f"config.data.{key} = {batch_size}: it is the batch of all processes together and must be a positive"
            f" multiple of their number, {process_count}."
        )
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


def bucket(seed: int, step: int, count: int) -> int:
    """Which of `count` declared input sizes a training step uses: the same on every process."""
    return int(np.random.Philox(key=_key("bucket", seed, step)).random_raw() % count)


def example_rng(seed: int, epoch: int, example: int | str) -> np.random.Generator:
    """The random generator of one example in one epoch: all that its augmentation draws comes from here.

    Args:
        seed: of the whole run.
        epoch: that the row belongs to.
        example: the example's id (or its index), so that the draws depend neither on its position in a batch nor on who
            loads it.
    """
    return np.random.Generator(np.random.Philox(key=_key("example", seed, epoch, example)))


def fingerprint(ids: Iterable[str]) -> str:
    """SHA-256 (hex) over the ids and their order: tells whether a step means the same examples as when it was saved."""
    digest = hashlib.sha256()
    for name in ids:
        data = name.encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()
