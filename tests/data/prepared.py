"""Tiny prepared TFDS data sets with the features of published ones, written without TensorFlow.

The features are copied from the builders in tensorflow_datasets 4.9.10: image_classification/cifar.py,
datasets/cityscapes, datasets/imagenet2012, datasets/oxford_iiit_pet, object_detection/voc.py, object_detection/coco.py.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tests.data.planted import encoded, picture

F = tfds.features
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat")
COCO_CLASSES = ("person", "bicycle", "car")
PET_BREEDS = ("Abyssinian", "american_bulldog", "beagle")


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    url_infos = None

    def __init__(self, name: str, features: Any, splits: Mapping[str, Sequence[dict]], config: str | None, **kwargs: Any):
        self.name, self._features, self._splits = name, features, splits
        config = tfds.core.BuilderConfig(name=config) if config else None
        self.BUILDER_CONFIGS = [config] if config else []
        super().__init__(config=config, **kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self._features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(examples) for split, examples in self._splits.items()}

    def _generate_examples(self, examples):
        yield from enumerate(examples)


def prepare(
    data_dir: pathlib.Path, name: str, features: Any, splits: Mapping[str, Sequence[dict]], config: str | None = None
) -> pathlib.Path:
    """Writes a data set in array_record; the folder of its version."""
    builder = _Builder(name, features, splits, config, data_dir=str(data_dir), file_format="array_record")
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


def cifar10(data_dir: pathlib.Path) -> pathlib.Path:
    """Two splits, train and test; 3 and 2 images of 32 x 32, labels 0 1 2 and 0 1."""
    features = F.FeaturesDict(
        {"id": F.Text(), "image": F.Image(shape=(32, 32, 3)), "label": F.ClassLabel(names=CIFAR_CLASSES)}
    )

    def example(seed: int, label: int) -> dict:
        return {"id": f"train_{seed:05d}", "image": encoded(picture(seed, 32, 32)), "label": label}

    splits = {"train": [example(i, i) for i in range(3)], "test": [example(i + 3, i) for i in range(2)]}
    return prepare(data_dir, "cifar10", features, splits)


def cityscapes(data_dir: pathlib.Path, ids: np.ndarray) -> pathlib.Path:
    """Config semantic_segmentation; one image of train and one of validation, each with the map `ids`."""
    features = F.FeaturesDict(
        {
            "image_id": F.Text(),
            "image_left": F.Image(shape=(*ids.shape, 3), encoding_format="png"),
            "segmentation_label": F.Image(shape=(*ids.shape, 1), encoding_format="png", use_colormap=True),
        }
    )

    def example(seed: int) -> dict:
        image = encoded(picture(seed, *ids.shape))
        return {"image_id": f"bonn_{seed:06d}_000019", "image_left": image, "segmentation_label": encoded(ids)}

    splits = {"train": [example(1)], "validation": [example(2)]}
    return prepare(data_dir, "cityscapes", features, splits, "semantic_segmentation")


def imagenet2012(data_dir: pathlib.Path) -> pathlib.Path:
    """Splits train, validation and test; the last has no labels (-1)."""
    features = F.FeaturesDict(
        {
            "image": F.Image(encoding_format="jpeg"),
            "label": F.ClassLabel(names=["n01440764", "n01443537"]),
            "file_name": F.Text(),
        }
    )

    def example(seed: int, label: int) -> dict:
        return {"image": encoded(picture(seed), "JPEG"), "label": label, "file_name": f"n0{seed}.JPEG"}

    splits = {"train": [example(0, 1)], "validation": [example(1, 0)], "test": [example(2, -1)]}
    return prepare(data_dir, "imagenet2012", features, splits)


def oxford_iiit_pet(data_dir: pathlib.Path, trimap: np.ndarray | None = None) -> pathlib.Path:
    """Version 4's features; one training image with a head box, two test images without, the second with `trimap`."""
    features = F.FeaturesDict(
        {
            "image": F.Image(encoding_format="jpeg"),
            "label": F.ClassLabel(names=PET_BREEDS),
            "species": F.ClassLabel(names=["Cat", "Dog"]),
            "file_name": F.Text(),
            "segmentation_mask": F.Image(shape=(None, None, 1), use_colormap=True),
            "head_bbox": F.BBoxFeature(),
        }
    )
    sound = np.full((30, 40), 2, np.uint8)
    sound[5:20, 5:20], sound[4, 5:20] = 1, 3

    def example(seed: int, mask: np.ndarray, head: Sequence[float]) -> dict:
        return {
            "image": encoded(picture(seed), "JPEG"),
            "label": 2,
            "species": 1,
            "file_name": f"beagle_{seed}.jpg",
            "segmentation_mask": encoded(mask),
            "head_bbox": F.BBox(*head),
        }

    second = sound if trimap is None else trimap
    splits = {
        "train": [example(0, sound, (0.1, 0.25, 0.5, 0.75))],
        "test": [example(1, sound, (0.0,) * 4), example(2, second, (0.0,) * 4)],
    }
    return prepare(data_dir, "oxford_iiit_pet", features, splits)


def voc(data_dir: pathlib.Path) -> pathlib.Path:
    """Config 2007: one training image with an object and a difficult one, one without objects; validation has one."""
    features = F.FeaturesDict(
        {
            "image": F.Image(),
            "image/filename": F.Text(),
            "objects": F.Sequence(
                {
                    "label": F.ClassLabel(names=VOC_CLASSES),
                    "bbox": F.BBoxFeature(),
                    "pose": F.ClassLabel(names=["frontal", "rear", "left", "right", "unspecified"]),
                    "is_truncated": np.bool_,
                    "is_difficult": np.bool_,
                }
            ),
            "labels": F.Sequence(F.ClassLabel(names=VOC_CLASSES)),
            "labels_no_difficult": F.Sequence(F.ClassLabel(names=VOC_CLASSES)),
        }
    )

    def thing(label: str, corners: Sequence[int], difficult: bool) -> dict:
        x1, y1, x2, y2 = corners
        box = F.BBox(y1 / 333, x1 / 500, y2 / 333, x2 / 500)
        return {"label": label, "bbox": box, "pose": "rear", "is_truncated": False, "is_difficult": difficult}

    def example(seed: int, things: Sequence[dict]) -> dict:
        labels = sorted({t["label"] for t in things})
        image = encoded(picture(seed, 333, 500), "JPEG")
        return {
            "image": image,
            "image/filename": f"{seed:06d}.jpg",
            "objects": things,
            "labels": labels,
            "labels_no_difficult": labels,
        }

    things = [thing("car", (1, 1, 500, 333), False), thing("bus", (48, 240, 195, 371 - 40), True)]
    splits = {"train": [example(5, things), example(7, [])], "validation": [example(9, things[:1])]}
    return prepare(data_dir, "voc", features, splits, "2007")


def coco(data_dir: pathlib.Path, boxes: Sequence[Sequence[float]] = ((0.1, 0.25, 0.5, 0.75),)) -> pathlib.Path:
    """Config 2017: one training image with `boxes` (ymin xmin ymax xmax, the last is crowd), one without objects."""
    features = F.FeaturesDict(
        {
            "image": F.Image(encoding_format="jpeg"),
            "image/filename": F.Text(),
            "image/id": np.int64,
            "objects": F.Sequence(
                {
                    "id": np.int64,
                    "area": np.int64,
                    "bbox": F.BBoxFeature(),
                    "label": F.ClassLabel(names=COCO_CLASSES),
                    "is_crowd": np.bool_,
                }
            ),
        }
    )

    def example(seed: int, found: Sequence[Sequence[float]]) -> dict:
        objects = [
            {"id": i, "area": 50 + i, "bbox": F.BBox(*box), "label": i % 3, "is_crowd": i == len(found) - 1}
            for i, box in enumerate(found)
        ]
        return {
            "image": encoded(picture(seed), "JPEG"),
            "image/filename": f"{seed:012d}.jpg",
            "image/id": seed,
            "objects": objects,
        }

    splits = {"train": [example(1, boxes), example(2, [])], "validation": [example(3, boxes)]}
    return prepare(data_dir, "coco", features, splits, "2017")
