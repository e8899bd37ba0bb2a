"""Proposals: boxes where an object may be, made from an image alone.

Selective search (Uijlings et al. 2013, "Selective search for object recognition") by OpenCV: regions of like colour,
texture, size and fit are merged step by step, and the box around each is one. Random and sliding boxes know nothing of the
image.

Every method is a pure function of the pixels and a `ProposalSpec`. OpenCV's order of selective search's boxes differs from
call to call, so they are sorted and then shuffled by a seeded key. (The paper ranks by the depth of the merging, times a
random number; OpenCV keeps only the product.)
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import os
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float, UInt8

from cnnvision.data.wrappers import Wrapped
from cnnvision.errors import DataError, RunError
from cnnvision.inputs import ProposalSpec
from cnnvision.storage import path_of, write_whole
from cnnvision.types import Example, Masks, Source

VERSION = 2
"""Of what is computed: boxes of another version are not used again."""

SECONDS = 10.0
"""From one report of `prepare` to the next."""


def propose(image: UInt8[np.ndarray, "H W 3"], spec: ProposalSpec) -> Float[np.ndarray, "p 4"]:
    """The boxes of one image.

    Returns:
        float32 [p, 4], at most `spec.most`, x1 y1 x2 y2, pixels of the image, within it and with area; no box twice.
    """
    rng = np.random.default_rng([spec.seed, int.from_bytes(_digest(image)[:8], "little")])
    boxes = _METHODS[spec.method](image, spec, rng)
    height, width = image.shape[:2]
    boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)][: spec.most]


def _selective_search(image: np.ndarray, spec: ProposalSpec, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    # Of a narrow strip, the longer side would grow without bound.
    factor = max(1, min(-(-spec.least_side // min(height, width)), 4 * spec.least_side // max(height, width)))
    if factor * min(height, width) < 3:
        return np.array([[0, 0, width, height]])  # OpenCV's segmentation needs a neighbourhood
    large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) if factor > 1 else image
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(large[..., ::-1]))
    (search.switchToSelectiveSearchQuality if spec.quality else search.switchToSelectiveSearchFast)()
    found = search.process().astype(np.float64)
    boxes = np.unique(np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1), axis=0)
    return boxes[rng.permutation(len(boxes))] / factor


def _random(image: np.ndarray, spec: ProposalSpec, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    draws = rng.random((spec.most, 4))
    between = lambda limits, draw: np.exp(np.log(limits[0]) + draw * (np.log(limits[-1]) - np.log(limits[0])))
    size, ratio = between(spec.scales, draws[:, 0]) * np.sqrt(height * width), between(spec.ratios, draws[:, 1])
    sides = np.minimum(np.stack([size / np.sqrt(ratio), size * np.sqrt(ratio)], axis=1), [width, height])
    corner = draws[:, 2:] * (np.array([width, height]) - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def _sliding(image: np.ndarray, spec: ProposalSpec, rng: np.random.Generator) -> np.ndarray:
    """The largest first; of one size and shape, row by row. Where there are more than are wanted, evenly many of all."""
    height, width = image.shape[:2]
    found = []
    for scale in sorted(spec.scales, reverse=True):
        for ratio in spec.ratios:
            size = scale * np.sqrt(height * width)
            w, h = min(size / np.sqrt(ratio), width), min(size * np.sqrt(ratio), height)
            places = [
                np.linspace(0, whole - side, max(1, 1 + int(np.ceil((whole - side) / (spec.step * side)))))
                for whole, side in ((width, w), (height, h))
            ]
            x, y = (grid.ravel() for grid in np.meshgrid(*places))
            found.append(np.stack([x, y, x + w, y + h], axis=1))
    boxes = np.concatenate(found)
    return boxes[np.linspace(0, len(boxes) - 1, min(spec.most, len(boxes))).round().astype(int)]


_METHODS: dict[str, Callable[[np.ndarray, ProposalSpec, np.random.Generator], np.ndarray]] = {
    "selective_search": _selective_search,
    "random": _random,
    "sliding": _sliding,
}


def _digest(image: np.ndarray) -> bytes:
    """Of the pixels and their shape."""
    return hashlib.blake2b(str(image.shape).encode() + np.ascontiguousarray(image).tobytes(), digest_size=20).digest()


class ProposalStore:
    """Boxes of images by content and settings, on disk. Safe for any number of threads and processes.

    Args:
        spec: which boxes.
        folder: in which they are kept, one file an image. By default what CNNVISION_PROPOSALS names, else
            `~/.cache/cnnvision/proposals` (or below `$XDG_CACHE_HOME`).
    """

    def __init__(self, spec: ProposalSpec, folder: epath.PathLike | None = None):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = folder or os.environ.get("CNNVISION_PROPOSALS") or os.path.join(cache, "cnnvision", "proposals")
        settings = repr((VERSION, sorted(dataclasses.asdict(spec).items()), cv2.__version__))
        self.spec = spec
        self.folder = path_of(folder) / hashlib.sha256(settings.encode()).hexdigest()[:16]

    def of(self, image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "p 4"]:
        """The boxes of an image: read, or computed and kept.

        Raises:
            RunError: a file of the store cannot be read or written, which is no fault of the image.
        """
        name = _digest(image).hex()
        path = self.folder / name[:2] / f"{name}.npy"
        kept = self._kept(path)
        if kept is not None:
            return kept
        boxes = propose(image, self.spec)
        content = io.BytesIO()
        np.save(content, boxes, allow_pickle=False)
        try:
            write_whole(path, content.getvalue())
        except OSError as error:
            raise RunError(
                f"{path}: proposals cannot be kept there ({error}). Make room, or "
                "let CNNVISION_PROPOSALS name another folder."
            ) from error
        return boxes

    def _kept(self, path: epath.Path) -> Float[np.ndarray, "p 4"] | None:
        """The boxes in a file; None where there is none, or a damaged one (cut short by a full disk, say): made again."""
        try:
            with path.open("rb") as file:
                content = io.BytesIO(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RunError(
                f"{path}: proposals that were kept there cannot be read ({error}). Mend or remove the file, or "
                "let CNNVISION_PROPOSALS name another folder."
            ) from error
        try:
            boxes = np.load(content, allow_pickle=False)
        except Exception:  # what a damaged header makes NumPy's reader raise is of many kinds
            return None
        sound = isinstance(boxes, np.ndarray) and boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4
        return boxes if sound and len(boxes) <= self.spec.most and np.isfinite(boxes).all() else None


class WithProposals(Wrapped):
    """A `Source` whose examples come with proposals where they come with their image.

    Args:
        source: everything else is that of it.
        store: where proposals come from.
    """

    def __init__(self, source: Source, store: ProposalStore):
        super().__init__(source)
        self.store = store

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """As the source's `read`."""
        example = self.source.read(index, image, masks)
        return dataclasses.replace(example, proposals=self.store.of(example.image)) if image else example


def prepare(source: WithProposals, indices: Sequence[int], threads: int, say: Callable[[str], None]) -> None:
    """Makes the proposals of images that have none yet, in parallel; a killed call goes on where it was.

    Images that cannot be read are left to whoever reads them next, and so are those that changed since a call for the
    same ones came to its end: another one returns at once.

    Args:
        source: of the images.
        indices: which of them.
        threads: how many work at a time.
        say: told how far it is, every few seconds.

    Raises:
        RunError: proposals cannot be kept.
    """

    def make(index: int) -> None:
        with contextlib.suppress(DataError, OSError):
            source.read(index)

    in_order = sorted(indices)
    whose = hashlib.sha256("\n".join([source.name, source.split, *(source.ids[index] for index in in_order)]).encode())
    with contextlib.suppress(DataError, OSError):  # another folder may have images of the same names
        whose.update(b"".join(_digest(source.source.read(index).image) for index in in_order[:1]))
    done_before = source.store.folder / f"prepared_{whose.hexdigest()[:16]}"
    if done_before.exists():
        return
    told = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max(1, threads)) as pool:
        for done, _ in enumerate(pool.map(make, indices), start=1):
            if time.monotonic() - told > SECONDS:
                told = time.monotonic()
                say(f"{source.name} {source.split}: {source.store.spec.method} of {done} of {len(indices)} images")
    with contextlib.suppress(OSError):  # then the next call looks for each of them again
        done_before.parent.mkdir(parents=True, exist_ok=True)
        done_before.touch()


def with_proposals(source: Source, spec: ProposalSpec | None) -> Source:
    """The source with the proposals that a task asks for: itself where it asks for none."""
    return source if spec is None else WithProposals(source, ProposalStore(spec))
