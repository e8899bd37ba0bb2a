"""Random integers that are the same on every machine and with every NumPy.

NumPy keeps the raw output of its bit generators fixed for ever, but neither the methods of `Generator` nor the last bit of
float functions (NEP 19). So `shapes` draws through `Philox.random_raw` alone and maps the bits to integers here.
"""

from collections.abc import Sequence

import numpy as np


class Draws:
    """A stream of random integers, a pure function of its key and counter (Philox 4×64, Salmon et al. 2011)."""

    def __init__(self, key: tuple[int, int], stream: tuple[int, int, int]):
        """Starts the stream.

        Args:
            key: two words below 2^64 for what the data set as a whole is drawn with.
            stream: three words below 2^64 for which part of it this stream draws. Streams of unequal words never
                overlap: they are disjoint ranges of 2^64 blocks of one counter.
        """
        self._bits = np.random.Philox(key=np.array(key, np.uint64), counter=np.array((0, *stream), np.uint64))

    def integer(self, low: int, high: int) -> int:
        """One integer in low … high, both included; high − low below 2^32 (bias below 2^-32 times the range)."""
        return low + ((self._bits.random_raw() >> 32) * (high - low + 1) >> 32)

    def chance(self, percent: int) -> bool:
        """True in `percent` of a hundred cases."""
        return self.integer(0, 99) < percent

    def choice(self, options: Sequence):
        """One of `options`, each equally likely."""
        return options[self.integer(0, len(options) - 1)]

    def bytes(self, *shape: int) -> np.ndarray:
        """uint8 [*shape], each value equally likely."""
        count = int(np.prod(shape))
        words = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return words.view(np.uint8)[:count].reshape(shape)
