"""The images of a page, and what each variant answers to them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from cnnvision.data.wrappers.subset import Subset
from cnnvision.errors import RunError
from cnnvision.evaluation.coco import HALF, best_threshold
from cnnvision.evaluation.contributions import Contributions
from cnnvision.runs.join import evaluation_of, names_of
from cnnvision.runs.open import Trained, evaluated, load

from . import answers
from .tables import Evaluated

MOST = 24
"""Images."""


def wrongness(found: Contributions, compared: Sequence[str]) -> np.ndarray:
    """How wrong the answer to each image is, float [n] from 0, right, to 1.

    Of detections 1 − F1 at an IoU of .5, from the score on at which the F1 of all images is best; of maps the share of wrong
    pixels; else 1 − the mean of the compared metrics of the image. NaN where nothing of an image counts.
    """
    if found.matches:
        matches = found.matches["AP"]
        threshold, count = best_threshold(matches), len(found.ids)
        right, wrong = np.zeros(count), np.zeros(count)
        for each in matches:
            kept = each.scores >= threshold
            right += np.bincount(each.image[kept & each.right[HALF]], minlength=count)
            wrong += np.bincount(each.image[kept & each.wrong[HALF]], minlength=count)
        total = right + wrong + sum(each.objects for each in matches)
        return 1 - np.divide(2 * right, total, out=np.ones(count), where=total > 0)
    if found.confusion is not None:
        total, right = found.confusion.sum(axis=(1, 2)), np.trace(found.confusion[:, :, :-1], axis1=1, axis2=2)
        return 1 - np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)
    values = np.stack([found.means[name] for name in compared if name in found.means])
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return 1 - np.divide(total, defined.sum(axis=0), out=np.full(values.shape[1], np.nan), where=defined.any(axis=0))


@dataclasses.dataclass(frozen=True)
class Choice:
    """Images that are shown. Attributes: ids; wrong: [variants, n] of them; why: of each, in words."""

    ids: Sequence[str]
    wrong: np.ndarray
    why: Sequence[str]


def choose(found: Evaluated, most: int = MOST) -> Choice:
    """The most wrong images, those that variants differ on most, and some spread evenly over all."""
    ids = next(iter(found.contributions.values())).ids
    wrong = np.stack([wrongness(each, found.compared) for each in found.contributions.values()])
    known = np.where(np.isnan(wrong), 0.0, wrong)
    mean, differs = known.mean(axis=0), known.max(axis=0) - known.min(axis=0)
    part = most // (3 if len(wrong) > 1 else 2)
    chosen: dict[int, str] = {}
    for values, why in ((mean, "among the most wrong"), (differs, "among the most disagreed on")):
        best = [int(i) for i in np.argsort(-values, kind="stable") if values[i] > 0 and int(i) not in chosen]
        chosen |= {i: why for i in best[: part if why.endswith("wrong") or len(wrong) > 1 else 0]}
    others = [i for i in range(len(ids)) if i not in chosen]
    even = np.linspace(0, len(others) - 1, min(most - len(chosen), len(others))).astype(int)
    chosen |= {others[i]: "of those spread evenly" for i in even}
    return Choice([ids[i] for i in chosen], wrong[:, list(chosen)], list(chosen.values()))


def gallery(found: Evaluated, folders: Mapping[str, Any]) -> dict[str, Any]:
    """The images with the truth and each variant's answer, as JSON; `folders`: variant -> run folder.

    Raises:
        CnnvisionError: a network or the data cannot be read.
    """
    choice = choose(found)
    images: list[dict[str, Any]] = []
    variants: list[dict[str, Any]] = []
    legend: list[dict[str, str]] = []
    for place, (name, folder) in enumerate(folders.items()):
        trained = _load(folder, found.about[name]["step"])
        classes = names_of(trained.task, trained.info)
        source = evaluated(trained)
        where = {id_: index for index, id_ in enumerate(source.ids)}
        if absent := [id_ for id_ in choice.ids if id_ not in where]:
            raise RunError(f"{source.name} {source.split} has no {absent[0]!r}, which {folder} was evaluated on")
        some = Subset(source, [where[id_] for id_ in choice.ids])
        predicted = _predicted(trained, some)
        if not place:
            legend = [{"name": each, "colour": answers.colour(k, classes)} for k, each in enumerate(classes)]
            images = [answers.shown(some, row, trained.task.inputs, classes) for row in range(len(some))]
        for row, image in enumerate(images):
            example = answers.truth_of(some, row, trained.task.inputs)
            image["answers"].append(answers.answer(predicted.get(image["id"]), example, classes))
        parameters = sum(leaf.size for leaf in jax.tree.leaves(trained.params))
        threshold = round(trained.threshold, 4)
        variants.append({"name": name, "step": trained.step, "threshold": threshold, "parameters": parameters})
        del trained
    for row, image in enumerate(images):
        wrong = choice.wrong[:, row]
        image |= {"why": choice.why[row], "wrong": [None if x != x else round(float(x), 4) for x in wrong]}
    return {"variants": variants, "classes": legend, "images": images, "palette": answers.SAFE}


def _load(folder: Any, step: int) -> Trained:
    """The network that was evaluated; the best one where that is no longer kept."""
    try:
        return load(folder, step)
    except RunError:
        return load(folder)


def _predicted(trained: Trained, source: Any) -> dict[str, Any]:
    """id -> the prediction, in original pixels, of each image of a source."""
    predictions: dict[str, Any] = {}

    def collect(examples, found):
        for row, example in enumerate(examples):
            predictions[example.id] = jax.tree.map(lambda x, row=row: np.asarray(x)[row], found)

    evaluation = evaluation_of(trained.task, source, trained.config, trained.mesh, targets=False)
    evaluation.run(trained.params, trained.model_state, collect=collect)
    return predictions
