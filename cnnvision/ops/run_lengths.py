"""COCO's run lengths of masks: down the columns, first zeros, then ones, and so on; and their coding as text. NumPy."""

import numpy as np

_FIRST_CHARACTER = 48
_VALUE_BITS, _VALUE, _MORE, _NEGATIVE = 5, 0x1F, 0x20, 0x10


def mask_of_runs(counts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask that run lengths stand for.

    Args:
        counts: [m] whole numbers >= 0 whose sum is H * W; runs may be empty.
        size: (H, W).

    Returns:
        bool [H, W].
    """
    height, width = size
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts.astype(np.int64)).reshape(width, height).T


def runs_of_text(text: str) -> np.ndarray:
    """The run lengths that COCO's compressed coding stands for.

    Each number is written in groups of 5 bits, the lowest first, a character each; a sixth bit says that more follow, and
    the last group's highest bit that the number is negative. From the fourth on, numbers are differences from the one
    before the last.

    Args:
        text: what stands in the file.

    Returns:
        int64 [m].

    Raises:
        ValueError: the text is not of that coding.
    """
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if not len(groups):
        return np.zeros(0, np.int64)
    if groups.min() < 0 or groups.max() >= 2 * _MORE or groups[-1] & _MORE:
        raise ValueError("it has other characters, or breaks off")
    ends = np.flatnonzero((groups & _MORE) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:  # 40 bits: more than any image has pixels
        raise ValueError("it has a number that is too long")
    position = np.arange(len(groups)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((groups & _VALUE) << (_VALUE_BITS * position), starts)
    numbers -= np.where(groups[ends] & _NEGATIVE, np.int64(1) << (_VALUE_BITS * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
