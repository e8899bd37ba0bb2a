"""Detections in COCO's format of results, which other programs read: pycocotools' `COCO(annotations).loadRes(file)`.

    [{"image_id": 139, "category_id": 1, "bbox": [x, y, width, height], "score": 0.98,
      "segmentation": {"size": [H, W], "counts": "..."}}, ...]

Boxes are continuous pixels of the original image, from 0. A detection with a mask has a `segmentation`: the pixels above
.5 (evaluation/pasting.py) as compressed run lengths. pycocotools itself cannot read a file without any detection, and takes
a detection's area from its box, also where it has a mask: APs, APm and APl of masks differ a little from those by mask.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Int64

from cnnvision.evaluation.overlap import code_of_runs
from cnnvision.evaluation.pasting import pasted_runs
from cnnvision.storage import path_of
from cnnvision.types import DetectionPrediction, Example, InstancePrediction


@dataclasses.dataclass(frozen=True)
class Detection:
    """One object found, as JSON holds it.

    Attributes:
        label: its class.
        score: the shortest number that is the same float32; average precision needs all of its digits.
        box: x1 y1 x2 y2, pixels of the original image, as short.
        mask: {"size": [H, W], "counts": compressed run lengths}; None where no masks are predicted.
        area: of the mask, pixels; None without one.
    """

    label: int
    score: float
    box: list[float]
    mask: dict[str, Any] | None = None
    area: int | None = None


def detections_of(prediction: DetectionPrediction, size: tuple[int, int]) -> Iterator[Detection]:
    """The detections of one image, in their order.

    Args:
        prediction: one row of a prediction, its boxes in pixels of the original image.
        size: (height, width) of that image.
    """
    exact = lambda x: float(str(np.float32(x)))
    for row in np.flatnonzero(prediction.valid):
        box, mask, area = np.asarray(prediction.boxes[row]), None, None
        if isinstance(prediction, InstancePrediction):
            runs = pasted_runs(np.asarray(prediction.masks[row]), box, size, prediction.alignment)
            mask, area = compressed(runs, size), int(runs[1::2].sum())
        yield Detection(int(prediction.labels[row]), exact(prediction.scores[row]), [exact(x) for x in box], mask, area)


def compressed(runs: Int64[np.ndarray, "n"], size: tuple[int, int]) -> dict[str, Any]:
    """Run lengths as JSON holds them: COCO's compressed RLE; no image-sized array is made."""
    return {"size": list(size), "counts": code_of_runs(runs, size)["counts"].decode("ascii")}


class ResultsFile:
    """Writes a file of results image by image; a reader sees the whole file or none. There is no file where nothing is a
    detector's.

        with ResultsFile(path, image_ids, category_ids) as results:
            evaluation.run(..., collect=results.collect)

    Args:
        path: of the file, local or remote.
        image_ids: id of an example -> that of its image in the file.
        category_ids: of each class; detections of one with None are left out.

    Attributes:
        rows: how many detections were written.
        left_out: how many were not.
    """

    def __init__(self, path: epath.PathLike, image_ids: Mapping[str, int | str], category_ids: Sequence[int | None]):
        self.path, self.image_ids, self.category_ids = path_of(path), image_ids, tuple(category_ids)
        self.rows = self.left_out = 0
        self._draft, self._file = self.path.parent / f"{self.path.name}.draft", None

    def __enter__(self) -> "ResultsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._file is None:
            if kind is None:
                self.path.unlink(missing_ok=True)  # of another prediction into the same folder
            return
        self._file.write("\n]\n" if self.rows else "]\n")
        self._file.close()
        if kind is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink()

    def collect(self, examples: Sequence[Example], predictions: Any) -> None:
        """Adds images (`SplitEvaluation.run`), their boxes in original pixels; what is no detector's prediction is not."""
        if isinstance(predictions, DetectionPrediction):
            for row, example in enumerate(examples):
                of_image = jax.tree.map(lambda x, row=row: np.asarray(x)[row], predictions)
                self.add(example.id, detections_of(of_image, example.size))

    def add(self, example: str, detections: Iterator[Detection] | Sequence[Detection]) -> None:
        """Adds the detections of the image of an example's id."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._draft.open("w")
            self._file.write("[")
        for detection in detections:
            category = self.category_ids[detection.label]
            if category is None:
                self.left_out += 1
                continue
            x1, y1, x2, y2 = detection.box
            box = [x1, y1, round(x2 - x1, 9), round(y2 - y1, 9)]  # what float64 adds to such short numbers goes
            row = {"image_id": self.image_ids[example], "category_id": category, "bbox": box, "score": detection.score}
            if detection.mask is not None:
                row["segmentation"] = detection.mask
            self._file.write((",\n" if self.rows else "\n") + json.dumps(row))
            self.rows += 1


@contextlib.contextmanager
def results_of(
    source: Any, path: epath.PathLike, say: Callable[[str], None]
) -> Iterator[Callable[[Sequence[Example], Any], None] | None]:
    """What collects detections on a split into a file of results with the ids of the data set; None where it has none, and
    on all hosts but the first.

    Args:
        source: the split, a `Source`.
        path: of the file.
        say: is told of detections that are left out, because the data set does not have their class.
    """
    if not hasattr(source, "image_ids") or jax.process_index() != 0:
        yield None
        return
    with ResultsFile(path, dict(zip(source.ids, source.image_ids, strict=True)), source.category_ids) as results:
        yield results.collect
    if results.left_out:
        classes = [name for name, number in zip(source.classes, source.category_ids, strict=True) if number is None]
        say(f"{path}: without {results.left_out} detections of classes that the data set lacks: {', '.join(classes)}")
