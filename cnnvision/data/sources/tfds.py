"""`tfds:NAME` and `shapes`: prepared TFDS data sets in array_record, read without TensorFlow.

What is understood, whatever the data set is called:
    image                       Image: decoded by this package's own decoder.
    label                       ClassLabel: the image's class (-1, of unlabelled test sets: none).
    objects                     Sequence of bbox and label; is_crowd or is_difficult mark crowd; area where there is one.
    semantic                    LabeledImage: its names are the semantic classes.
    instances                   Image: 0, or i + 1 where object i is.
    segmentation_mask           of oxford_iiit_pet: 1 pet, 2 background, 3 border.
    segmentation_label          of cityscapes, whose image is image_left: the 19 classes that are evaluated; others: IGNORE.
    head_bbox                   of oxford_iiit_pet: one object of the image's class; empty where there is none.
So cifar10, cityscapes, imagenet2012, oxford_iiit_pet, voc, coco and shapes are read, and others built like them.

TFDS's boxes are ymin xmin ymax xmax as fractions of the image. Those of `voc` keep VOC's own count from 1, so that a pixel
is subtracted from xmin and ymin, as `voc:DIR` does. Records are not read when the data set is opened (it may be large): what
is wrong with one is found by `faults`, which `doctor` asks, and mended or left out in `read` likewise.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from cnnvision.data.decode import decode_image, decode_map, image_size
from cnnvision.data.faults import Findings, RecordError, refuse_empty
from cnnvision.data.maps.class_ids import class_map, instance_masks
from cnnvision.data.sources import tfds_prepared
from cnnvision.data.sources.records import class_cure
from cnnvision.data.sources.splits import resolve_split
from cnnvision.errors import DataError
from cnnvision.types import COCO_AREA_RANGES, IGNORE, Example, Masks, Objects, Problem

PET_CLASSES = ("pet", "background", "border")
"""Semantic classes of oxford_iiit_pet: values 1, 2, 3 of its trimaps."""

CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Value in cityscapes' maps (its id) -> the class, in the order of its trainId."""

_FILE_NAMES = ("image/filename", "file_name", "id", "image/id", "image_id")
_CROWD = ("is_crowd", "is_difficult")
_CORNER_DECIMALS = 3
"""Fractions of float32 come back as pixels with an error below 1e-3; the digits behind that would turn 12 into 11.99998."""


class TfdsSource:
    """A `Source` (cnnvision/types.py) over one split of a prepared data set."""

    annotations_at_hand = False
    """Whether reading annotations is cheap; here each costs a read of the record, image included."""

    def __init__(self, name: str, split: str, folder: str, classes: tuple[str, ...] | None):
        """Args: name: the source string; folder: that of the prepared version; classes: as in `open_source`.

        Raises:
            DataError: the data set is of another format or of features that are not known, or has no such split.
        """
        self.name, self.split, self._folder = name, split, str(folder)
        findings = Findings()
        builder = self._builder()
        self._tfds_split = resolve_split(name, split, builder.info.splits, findings)
        features = builder.info.features
        own = _class_names(name, features)
        self.classes = own if classes is None else tuple(classes)
        for unknown in sorted(set(own) - set(self.classes)):
            message = "the class is not among those of training"
            findings.add(name, message, class_cure(unknown, self.classes), "object left out", "", "class", unknown)
        self._labels = tuple(self.classes.index(c) if c in self.classes else -1 for c in own)
        self.semantic_classes = _semantic_classes(features)
        ranges = (builder.info.metadata or {}).get("area_ranges", COCO_AREA_RANGES)
        self.area_ranges = {key: (float(low), float(high)) for key, (low, high) in ranges.items()}
        count = builder.info.splits[self._tfds_split].num_examples
        refuse_empty(name, split, count, count, findings.problems)
        self.problems = findings.problems
        self.ids = tuple(f"{self._tfds_split}/{index:06d}" for index in range(count))
        self._counts_from_one = builder.info.name == "voc"
        self._image = "image" if "image" in features else "image_left"

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_data"}

    def read(self, index: int, image: bool = True, masks: Masks = False) -> Example:
        """The example at `index`; see `Source.read`."""
        try:
            return self._read(index, image, masks, Findings())
        except RecordError as error:
            problem = dataclasses.replace(error.problem, file=self.name, record=self.ids[index])
            raise RecordError(problem) from error

    def faults(self, index: int) -> list[Problem]:
        """What `read` leaves out or repairs in one record, boxes beyond the image for example."""
        findings = Findings()
        self._read(index, False, False, findings)
        findings.finish(self.name)
        return findings.problems

    def original(self, index: int) -> tuple[str, bytes]:
        """(file name, or the id where it is not known; the encoded image as it is stored)."""
        record = self._record(index)
        names = [_text(record[key]) for key in _FILE_NAMES if key in record]
        return (names or [self.ids[index]])[0], record[self._image]

    def _read(self, index: int, image: bool, masks: Masks, findings: Findings) -> Example:
        record, file = self._record(index), self.ids[index]
        pixels = decode_image(record[self._image], file) if image else None
        size = image_size(record[self._image], file) if pixels is None else pixels.shape[:2]
        label = self._labels[record["label"]] if record.get("label", -1) >= 0 else -1
        objects = self._objects(record, size, file, findings, masks in (True, "objects"))
        semantic = self._semantic(record, size, file) if masks not in (False, "objects") else None
        known = masks == "cells" and "instances" in record
        cells = decode_map(record["instances"], file).astype(np.int32) if known else None
        return Example(self.ids[index], size, pixels, label if label >= 0 else None, objects, semantic, cells)

    def _objects(
        self, record: dict[str, Any], size: tuple[int, int], file: str, findings: Findings, masks: bool
    ) -> Objects | None:
        if "objects" in record:
            found = record["objects"]
        elif "head_bbox" in record:
            there = int(np.any(record["head_bbox"]))
            found = {"bbox": [record["head_bbox"]][:there], "label": [record["label"]][:there]}
        else:
            return None
        boxes = np.asarray(found["bbox"], np.float64).reshape(-1, 4)  # (0,) where there are no objects
        height, width = size
        corners = np.round(boxes[:, [1, 0, 3, 2]] * [width, height, width, height], _CORNER_DECIMALS)
        if self._counts_from_one:
            corners[:, :2] -= 1
        kept, keep = [], []
        for i, corner in enumerate(corners.tolist()):
            if self._labels[found["label"][i]] < 0:
                continue
            box = findings.box(corner, size, self.name, f"{file}, object {i}")
            if box:
                kept.append(box)
                keep.append(i)
        kept = np.asarray(kept, np.float32).reshape(-1, 4)
        crowd = next((np.asarray(found[key], bool)[keep] for key in _CROWD if key in found), np.zeros(len(keep), bool))
        area = np.asarray(found["area"], np.float32)[keep] if "area" in found else np.prod(kept[:, 2:] - kept[:, :2], axis=1)
        labels = np.asarray([self._labels[found["label"][i]] for i in keep], np.int32)
        objects = Objects(kept, labels, crowd, area)
        if masks and "instances" in record:
            raw = decode_map(record["instances"], file)
            objects = dataclasses.replace(objects, masks=instance_masks(raw, len(corners), size, file)[keep])
        return objects

    def _semantic(self, record: dict[str, Any], size: tuple[int, int], file: str) -> np.ndarray | None:
        if "semantic" in record and self.semantic_classes:
            table = {value: value for value in range(len(self.semantic_classes))}
            return class_map(decode_map(record["semantic"], file), table, size, file)
        if "segmentation_mask" in record and self.semantic_classes == PET_CLASSES:
            return class_map(decode_map(record["segmentation_mask"], file), {1: 0, 2: 1, 3: 2}, size, file)
        if "segmentation_label" in record and self.semantic_classes == tuple(CITYSCAPES.values()):
            table = {**dict.fromkeys(range(256), IGNORE), **{value: i for i, value in enumerate(CITYSCAPES)}}
            return class_map(decode_map(record["segmentation_label"], file), table, size, file)
        return None

    def _record(self, index: int) -> dict[str, Any]:
        try:
            return self._data[index]
        except Exception as error:  # the readers of records and features raise a dozen kinds on damaged files
            message = f"the record cannot be read ({type(error).__name__}: {str(error)[:120]})"
            cure = f"Prepare the data set in {self._folder} again."
            raise RecordError(Problem(self.name, self.ids[index], "", "", message, cure, "left out")) from error

    @functools.cached_property
    def _data(self) -> Any:
        import tensorflow_datasets as tfds

        builder = self._builder()
        images = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)]
        encoded = {key: tfds.decode.SkipDecoding() for key in images}
        return builder.as_data_source(self._tfds_split, decoders=encoded)

    def _builder(self) -> Any:
        return _builder(self.name, self._folder)


def open_tfds(reference: str, split: str, classes: tuple[str, ...] | None) -> TfdsSource:
    """Opens ``tfds:NAME[/CONFIG][:VERSION]``; see `cnnvision.data.sources.open_source`."""
    return TfdsSource(f"tfds:{reference}", split, str(tfds_prepared.find(reference)), classes)


def tfds_split_names(reference: str) -> tuple[str, ...]:
    """Names of the splits of ``tfds:NAME``."""
    return tuple(_builder(f"tfds:{reference}", str(tfds_prepared.find(reference))).info.splits)


def open_shapes(config: str, split: str, classes: tuple[str, ...] | None) -> TfdsSource:
    """Opens ``shapes`` or ``shapes:single``, which is drawn first where it is not on disk yet."""
    from cnnvision.data.shapes import prepare

    builder = prepare(config or "shapes", str(tfds_prepared.data_dir()))
    return TfdsSource(f"shapes:{config}" if config else "shapes", split, str(builder.data_dir), classes)


def shapes_split_names(config: str) -> tuple[str, ...]:
    """Names of the splits of `shapes`."""
    from cnnvision.data.shapes.drawing import RECIPES, SPLITS

    if config and config not in RECIPES:
        raise DataError(f"shapes: no config {config!r}. Known: {', '.join(RECIPES)}.")
    return tuple(SPLITS)


def _builder(name: str, folder: str) -> Any:
    import tensorflow_datasets as tfds  # a second to import; csv: and its kind need none of it

    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # JSON, protobuf and feature readers raise many kinds on damaged metadata
        raise DataError(f"{name}: the metadata in {folder} cannot be read ({error}). Prepare it again.") from error
    formats = {str(getattr(f, "value", f)) for f in builder.info.available_file_formats()}
    if "array_record" not in formats:
        commands = tfds_prepared.conversion_commands(folder)
        raise DataError(f"{name} is prepared as {', '.join(sorted(formats)) or 'nothing'}, not array_record.\n{commands}")
    return builder


def _class_names(name: str, features: Any) -> tuple[str, ...]:
    """Names of the classes; raises DataError where the features are of no known structure."""
    if "image" not in features and "image_left" not in features:
        raise DataError(f"{name} has no feature 'image', only {', '.join(features)}: it is no data set of labelled images.")
    known = features["objects"].feature if "objects" in features else features
    if "objects" in features and not {"bbox", "label"} <= set(known):
        raise DataError(f"{name}: its objects have {', '.join(known)}; this reader needs bbox and label.")
    if "label" in known:
        label = known["label"]
        return tuple(label.names) if label.names else tuple(map(str, range(label.num_classes)))
    if _semantic_classes(features):
        return ()
    raise DataError(f"{name} has the features {', '.join(features)}; this reader needs label, objects or semantic.")


def _semantic_classes(features: Any) -> tuple[str, ...]:
    if "semantic" in features:
        return tuple(features["semantic"].names)
    if {"image_left", "segmentation_label"} <= set(features):
        return tuple(CITYSCAPES.values())
    return PET_CLASSES if {"segmentation_mask", "species"} <= set(features) else ()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
