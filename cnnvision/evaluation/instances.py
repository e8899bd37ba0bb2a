"""Average precision of masks, beside that of their boxes: COCO's, and that of the masks' boundaries."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from cnnvision.errors import DataError
from cnnvision.evaluation.coco import COUNTS, coco_evaluation, matches_of
from cnnvision.evaluation.detection import DetectionEvaluator, coco_metrics, matches_by_area
from cnnvision.evaluation.overlap import Code, code_of_plane, code_of_runs
from cnnvision.evaluation.pasting import pasted_runs
from cnnvision.inputs import MASKS_CURE
from cnnvision.types import Example, InstancePrediction, Objects

OF_BOUNDARIES = ("AP", "AP50", "AP75")


class InstanceEvaluator(DetectionEvaluator):
    """Against all objects of each image and their masks, in original pixels.

    Metrics: those of `DetectionEvaluator`, of the boxes; COCO's of the masks, `mask_AP`, `mask_AP50`, `mask_APs` …, with
    objects' areas as they are given, and detections' as their masks have them; `boundary_AP`, `boundary_AP50` and
    `boundary_AP75` (Cheng et al. 2021, `overlap.boundary_overlaps`). `score_threshold` is by boxes.

    Predicted masks are pasted into their images at a probability of 0.5, and kept as run lengths. An empty mask counts as
    in pycocotools: it overlaps nothing, so an object with one is never found, and a detection with one is wrong.

    Args: as of `DetectionEvaluator`.

    Attributes:
        images: those of the boxes; matches: by boxes, by masks ("mask_AP" …) and by boundaries ("boundary_AP").
        masked: of each image (objects, codes, labels, scores); the objects' masks are codes, too (`overlap.Code`).
        compared: metrics of a comparison.
    """

    compared = ("mask_AP", "AP", "boundary_AP", "mask_AP50", *DetectionEvaluator.compared[1:])

    def __init__(self, classes: Sequence[str], area_ranges: Mapping[str, tuple[float, float]], most: int = COUNTS[-1]):
        super().__init__(classes, area_ranges, most)
        self.masked: list[tuple[Objects, np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, examples: Sequence[Example], predictions: InstancePrediction) -> None:
        """Adds images, as `DetectionEvaluator.update`; `predictions.masks` is float32 [len(examples), d, m, m].

        Raises:
            DataError: an image's objects have no masks; nothing of the batch was added.
        """
        for example in examples:
            if example.objects is not None and example.objects.masks is None and len(example.objects.boxes):
                raise DataError(
                    f"{example.id}: its objects have no masks, so predicted masks cannot be judged. {MASKS_CURE}"
                )
        super().update(examples, predictions)
        for row, example in enumerate(examples):
            if (objects := example.objects) is None:
                continue
            found = np.flatnonzero(predictions.valid[row])
            boxes, masks = (np.asarray(x[row], np.float32)[found] for x in (predictions.boxes, predictions.masks))
            pasted = [
                pasted_runs(mask, box, example.size, predictions.alignment) for mask, box in zip(masks, boxes, strict=True)
            ]
            codes = _column([code_of_runs(runs, example.size) for runs in pasted])
            planes = [] if objects.masks is None else objects.masks
            objects = dataclasses.replace(objects, masks=_column([code_of_plane(plane) for plane in planes]))
            self.masked.append((objects, codes, *self.images[len(self.masked)][2:]))

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1]; NaN where no object counts."""
        of = lambda kind: coco_evaluation(self.masked, len(self.classes), self.area_ranges, self.counts, kind)
        masks, boundaries = of("segm"), of("boundary")
        named = lambda evaluation: coco_metrics(evaluation, self.classes, self.area_ranges, self.counts)
        metrics = super().compute() | {f"mask_{name}": value for name, value in named(masks).items()}
        self.matches |= matches_by_area(masks, self.area_ranges, "mask_") | {"boundary_AP": matches_of(boundaries)}
        return metrics | {f"boundary_{name}": named(boundaries)[name] for name in OF_BOUNDARIES}


def _column(codes: Sequence[Code]) -> np.ndarray:
    """[n] of objects, so that codes can be chosen and sorted as rows of arrays are."""
    column = np.empty(len(codes), object)
    column[:] = codes
    return column
