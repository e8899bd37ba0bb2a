"""What is remarkable about the semantic maps of a split, though no fault: maps of one class, classes that hardly occur."""

import collections
from collections.abc import Sequence

import numpy as np

RARE = 1e-4
"""A class with a smaller share of the pixels is remarked on."""
_SHOWN = 20


def notes_of_maps(split: str, names: Sequence[str], maps: Sequence[tuple[str, np.ndarray]]) -> list[str]:
    """One sentence for each kind of remark.

    Args:
        split: its name, which the sentences begin with.
        names: of the semantic classes.
        maps: (id of the image, int [256] pixels of each class id) of each map; those that are ignored everywhere count as
            images without a map.
    """
    used = {id: counts[: len(names)] for id, counts in maps if counts[: len(names)].any()}
    if not used:
        return []
    ids, pixels = list(used), np.array(list(used.values()))
    notes, there = [], pixels > 0
    alone = collections.Counter(names[np.argmax(row)] for row in there if row.sum() == 1 < len(names))
    if alone:
        kinds = _listed([f"{count} all {name}" for name, count in alone.most_common()])
        notes.append(f"{split}: semantic maps with one class alone: {alone.total()} of {len(ids)} ({kinds}).")
    totals, images = pixels.sum(axis=0), there.sum(axis=0)
    if absent := [name for name, total in zip(names, totals, strict=True) if not total]:
        notes.append(f"{split}: classes without a pixel: {_listed(absent)}.")
    if rare := [f"{names[i]} ({totals[i]})" for i in np.flatnonzero((totals > 0) & (totals < RARE * totals.sum()))]:
        notes.append(f"{split}: classes with less than {RARE:.2%} of the pixels (their number): {_listed(rare)}.")
    if single := [f"{names[i]} ({ids[np.argmax(there[:, i])]})" for i in np.flatnonzero(images == 1) if len(ids) > 1]:
        notes.append(f"{split}: classes in one image alone: {_listed(single)}.")
    return notes


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_SHOWN]) + (" …" if len(words) > _SHOWN else "")
