"""What each image adds to an evaluation's metrics: enough to compute them again of any set of the images.

So metrics of several trainings can be compared on the same drawn sets long after they were evaluated, without the
networks (cnnvision/evaluation/verdicts.py). A metric is one of three: a mean over images; a function of the confusion
counts of pixels, summed over images; an average precision, of detections that were matched image by image.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool, Float64, Integer

from cnnvision.errors import RunError
from cnnvision.evaluation.bootstrap import BLOCK, resampled_confusions, resampled_mean, resamples
from cnnvision.evaluation.coco import HALF, THREE_QUARTERS, Matches
from cnnvision.evaluation.detection_bootstrap import mean_precision, resampled_precisions
from cnnvision.evaluation.segmentation_metrics import class_iou, dice, mean_iou, pixel_accuracy
from cnnvision.settings import check_name
from cnnvision.storage import write_whole

ROUNDS = 2000
"""Sets of images that are drawn."""

OF_CONFUSIONS = {"mean_iou": mean_iou, "pixel_accuracy": pixel_accuracy, "dice": dice}
"""Metrics of the summed confusion counts."""


@dataclasses.dataclass(frozen=True)
class Contributions:
    """Of an evaluation of n images.

    Attributes:
        ids: of the images, in the order of the rows.
        means: metric -> float64 [n], NaN for an image that does not count: the metric is the mean over the others.
        classes: names of the classes of `confusion`, or of `matches`.
        confusion: int64 [n, k, k + 1] pixels (segmentation_metrics.py), or None.
        matches: "AP", "APs", "mask_AP" … -> how the detections of each class match the objects (coco.py).
    """

    ids: tuple[str, ...]
    means: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    confusion: np.ndarray | None = None
    matches: Mapping[str, Sequence[Matches]] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics that `redrawn` knows, those of single classes last."""
        of_all = [name for name in self.matches if _whole(name)]
        names = [*OF_CONFUSIONS, *(f"iou/{name}" for name in self.classes)] if self.confusion is not None else []
        names += [*self.matches, *(f"{name}{share}" for name in of_all for share in (50, 75)), *self.means]
        names += [f"{name}/{each}" for name in of_all for each in self.classes]
        return sorted(names, key=lambda name: "/" in name)

    def redrawn(
        self, weights: Integer[np.ndarray, "rounds n"] | None = None, metrics: Sequence[str] | None = None
    ) -> dict[str, Float64[np.ndarray, "rounds"]]:
        """Metrics of sets of the images; NaN where a set has nothing that counts.

        Two trainings' values on the same images may be subtracted, set by set. What makes an image easy or hard for both
        then cancels, so the interval of the difference is narrower than the two intervals suggest.

        Args:
            weights: how often each image is in each set; by default `ROUNDS` sets drawn with replacement, the same for the
                same number of images.
            metrics: their names; all by default.

        Raises:
            ConfigError: there is no such metric.
        """
        wanted = self.metrics if metrics is None else [check_name("metric", name, self.metrics) for name in metrics]
        weights = resamples(len(self.ids), ROUNDS, 0) if weights is None else weights
        values = {name: resampled_mean(self.means[name], weights) for name in wanted if name in self.means}
        of_pixels = [name for name in wanted if name in OF_CONFUSIONS or name.startswith("iou/")]
        values |= self._of_pixels(of_pixels, weights) if of_pixels else {}
        for kind, matches in self.matches.items():
            names = [name for name in wanted if name == kind or (_whole(kind) and _of(name, kind))]
            if names:
                precisions = resampled_precisions(matches, weights)
                values |= {name: mean_precision(self._part(precisions, name.removeprefix(kind))) for name in names}
        return {name: values[name] for name in wanted}

    def values(self, metrics: Sequence[str] | None = None) -> dict[str, float]:
        """Metrics of all images, each once: those of the evaluation."""
        once = np.ones((1, len(self.ids)), np.int64)
        return {name: float(each[0]) for name, each in self.redrawn(once, metrics).items()}

    def _of_pixels(self, names: Sequence[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        found = {name: [] for name in names}
        for start in range(0, len(weights), BLOCK):
            counts = resampled_confusions(self.confusion, weights[start : start + BLOCK])
            each = class_iou(counts)
            for name in names:
                of_class = name.startswith("iou/") and self.classes.index(name.removeprefix("iou/"))
                found[name].append(OF_CONFUSIONS[name](counts) if name in OF_CONFUSIONS else each[:, of_class])
        return {name: np.concatenate(blocks) for name, blocks in found.items()}

    def _part(self, precisions: np.ndarray, suffix: str) -> np.ndarray:
        """Of [rounds, IoU, class] what a metric is the mean of: all, an IoU ("50", "75"), or a class ("/NAME")."""
        if suffix.startswith("/"):
            return precisions[:, :, self.classes.index(suffix[1:])]
        return precisions[:, {"": slice(None), "50": HALF, "75": THREE_QUARTERS}[suffix]]

    def sorted(self) -> "Contributions":
        """The same with the images in the order of their ids: all evaluations of the same images draw the same sets."""
        order = sorted(range(len(self.ids)), key=lambda index: self.ids[index])
        place = np.argsort(np.array(order, int))
        moved = lambda each: dataclasses.replace(each, image=place[each.image], objects=each.objects[order])
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[index] for index in order),
            means={name: values[order] for name, values in self.means.items()},
            confusion=None if self.confusion is None else self.confusion[order],
            matches={name: [moved(each) for each in matches] for name, matches in self.matches.items()},
        )

    def differs(self, other: "Contributions") -> Bool[np.ndarray, "n"]:
        """Which images have other annotations than in another evaluation of the same images: other objects of a class, other
        pixels of one. Not told where only means are there."""
        different = np.zeros(len(self.ids), bool)
        for kind in self.matches.keys() & other.matches.keys():
            pairs = zip(self.matches[kind], other.matches[kind], strict=True)
            different |= np.any([mine.objects != theirs.objects for mine, theirs in pairs], axis=0)
        if self.confusion is not None and other.confusion is not None:
            different |= (self.confusion.sum(axis=2) != other.confusion.sum(axis=2)).any(axis=1)
        for name in self.means.keys() & other.means.keys():
            different |= np.isnan(self.means[name]) != np.isnan(other.means[name])
        return different

    def write(self, path: epath.PathLike, about: Mapping[str, Any]) -> None:
        """Writes a compressed NumPy archive, whole or not at all; `about` is JSON that `read` returns."""
        arrays: dict[str, np.ndarray] = {f"means/{name}": values for name, values in self.means.items()}
        if self.confusion is not None:
            arrays["confusion"] = self.confusion
        for name, matches in self.matches.items():
            joined = lambda field, axis=0, matches=matches: np.concatenate([getattr(m, field) for m in matches], axis)
            if _whole(name):  # those of small objects are the same detections
                arrays |= {f"{name}/scores": joined("scores").astype(np.float32), f"{name}/image": joined("image")}
                arrays[f"{name}/lengths"] = np.array([len(each.scores) for each in matches])
            arrays |= {f"{name}/{side}": np.packbits(joined(side, 1), axis=1) for side in ("right", "wrong")}
            arrays[f"{name}/objects"] = np.stack([each.objects for each in matches]).astype(np.int32)
        head = json.dumps({"ids": self.ids, "classes": self.classes, "about": about})
        buffer = io.BytesIO()
        np.savez_compressed(buffer, head=np.frombuffer(head.encode(), np.uint8), **arrays)
        write_whole(path, buffer.getvalue())


def read(path: epath.PathLike) -> tuple[Contributions, dict[str, Any]]:
    """What `Contributions.write` wrote: the contributions, and what they are about.

    Raises:
        RunError: the file cannot be read as such.
    """
    try:
        with np.load(io.BytesIO(epath.Path(path).read_bytes()), allow_pickle=False) as file:
            arrays = dict(file)
        head = json.loads(arrays.pop("head").tobytes())
        kinds = [name.removesuffix("/objects") for name in arrays if name.endswith("/objects")]
        matches = {kind: _matches(arrays, kind) for kind in kinds}
        means = {name.removeprefix("means/"): values for name, values in arrays.items() if name.startswith("means/")}
        found = Contributions(tuple(head["ids"]), means, tuple(head["classes"]), arrays.get("confusion"), matches)
        return found, head["about"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {error}): delete it; what it holds is computed again"
        ) from error


def _matches(arrays: Mapping[str, np.ndarray], kind: str) -> list[Matches]:
    """The inverse of what `Contributions.write` does with the matches of all classes."""
    scores, image, lengths = (arrays[f"{kind[: kind.index('AP') + 2]}/{name}"] for name in ("scores", "image", "lengths"))
    bits = lambda side: np.unpackbits(arrays[f"{kind}/{side}"], axis=1, count=len(scores)).astype(bool)
    parts = [np.split(each, np.cumsum(lengths)[:-1], axis=-1) for each in (scores, image, bits("right"), bits("wrong"))]
    return [Matches(*each) for each in zip(*parts, arrays[f"{kind}/objects"].astype(np.float64), strict=True)]


def _whole(kind: str) -> bool:
    """Whether matches are those of objects of all areas: AP, mask_AP; not APs."""
    return kind.endswith("AP")


def _of(name: str, kind: str) -> bool:
    """Whether a metric is a part of what the matches of a kind tell: AP50, AP75, AP/CLASS of AP."""
    suffix = name.removeprefix(kind)
    return name.startswith(kind) and (suffix in ("50", "75") or suffix.startswith("/"))
