"""`shapes`, a TFDS data set that needs no download: six forms among clutter, with boxes, masks and semantic maps.

Config `shapes` has one to eight objects an image, `single` exactly one. The images are drawn by `shapes_drawing`, written as
array_record and read without TensorFlow:

    builder = prepare("shapes")
    source = builder.as_data_source("train", decoders=builder.encoded)
    source[7]["image"]  # PNG bytes

Pixels and annotations are the same on every machine; the bytes of the PNG files depend on the zlib that wrote them.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tqdm import auto as tqdm

from cnnvision.data.shapes.drawing import RECIPES, SIDE, SPLITS, Drawing, draw
from cnnvision.data.shapes.forms import CLASSES
from cnnvision.errors import DataError, nearest

SEMANTIC_CLASSES = ("background", *CLASSES)


def _png(image: np.ndarray) -> bytes:
    """uint8 [h, w] or [h, w, 3] RGB as PNG: given an array, TFDS would import TensorFlow to encode it."""
    return cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])[1].tobytes()


def _example(drawing: Drawing, filename: str, whole_image_label: bool) -> dict[str, Any]:
    """What the features of `Shapes` take for one drawing."""
    fractions = (drawing.boxes / SIDE).tolist()
    objects = {
        "bbox": [tfds.features.BBox(ymin=y1, xmin=x1, ymax=y2, xmax=x2) for x1, y1, x2, y2 in fractions],
        "label": drawing.labels.tolist(),
        "area": drawing.areas.tolist(),
        "full_area": drawing.full_areas.tolist(),
    }
    example = {
        "image": _png(drawing.image),
        "image/filename": filename,
        "objects": [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)],
        "instances": _png(drawing.instances),
        "semantic": _png(drawing.semantic),
    }
    return {**example, "label": int(drawing.labels[0])} if whole_image_label else example


class Shapes(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder; `prepare` makes one whose data are on disk.

    Features:
        image: PNG, uint8 [128, 128, 3] RGB.
        image/filename: "train_00012.png".
        label: class of the whole image; config `single` only.
        objects: a sequence, from the farthest to the nearest, of
            bbox: float32 (ymin, xmin, ymax, xmax) as fractions of the image (exact: multiples of 1/128): tight bounds of
                the visible part.
            label: class, in the order of `CLASSES`.
            area: int64, visible pixels.
            full_area: int64, pixels of the whole form; area / full_area is the visible fraction, at least 0.4.
        instances: PNG, uint8 [128, 128]: 0 background, i + 1 where object i of `objects` is visible.
        semantic: PNG, uint8 [128, 128]: 0 background, class + 1; its `names` are the semantic classes.

    `info.metadata["area_ranges"]` holds {"small": [least, most], "medium": …, "large": …}, square pixels of visible area.

    Attributes:
        encoded: decoders for `as_data_source` that leave the PNG files encoded.
        progress: whether preparing shows a progress bar.
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "First drawing.",
        "1.1.0": "Backgrounds and clutter that no form can be taken for.",
    }
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="shapes", description="One to eight objects an image."),
        tfds.core.BuilderConfig(name="single", description="One object an image."),
    ]

    # Nothing is downloaded. TFDS would look for a list of checksums by means of a package that it does not require.
    url_infos = None

    encoded: ClassVar[dict[str, Any]] = {name: tfds.decode.SkipDecoding() for name in ("image", "instances", "semantic")}
    progress = False

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features
        label = {"label": features.ClassLabel(names=CLASSES)} if self.builder_config.name == "single" else {}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Circles, squares, triangles, stars, crosses and rings among clutter.",
            features=features.FeaturesDict(
                {
                    "image": features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
                    "image/filename": features.Text(),
                    **label,
                    "objects": features.Sequence(
                        {
                            "bbox": features.BBoxFeature(),
                            "label": features.ClassLabel(names=CLASSES),
                            "area": np.int64,
                            "full_area": np.int64,
                        }
                    ),
                    "instances": features.Image(shape=(SIDE, SIDE, 1), encoding_format="png"),
                    "semantic": features.LabeledImage(
                        labels=list(SEMANTIC_CLASSES), shape=(SIDE, SIDE, 1), encoding_format="png"
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(
                area_ranges={name: list(bounds) for name, bounds in RECIPES[self.builder_config.name].area_ranges.items()}
            ),
            # Row i of a split is image i, so that an id and a position say the same.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config.name
        title = f"Drawing {self.name}/{config} {split}"
        for index in tqdm.trange(SPLITS[split], desc=title, unit="image", disable=not self.progress):
            yield index, _example(draw(config, split, index), f"{split}_{index:05d}.png", config == "single")


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Keeps TFDS's own progress bars and its words about downloads off the screen."""
    bars = tfds.core.utils.tqdm_utils._active
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(bars)


def prepare(config: str = "shapes", data_dir: str | os.PathLike | None = None, progress: bool = True) -> Shapes:
    """A builder whose data are on disk, drawn and written first where they are not there yet.

    Killed in the middle, it leaves nothing that is taken for a data set; called by several processes at once, one of them
    wins and all read the same. Drawing takes about ten milliseconds an image.

    Args:
        config: "shapes" or "single".
        data_dir: folder of TFDS data sets; None for TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).
        progress: whether to show a progress bar while drawing.

    Raises:
        DataError: no such config; or the folder cannot be written, or holds something else where the data set belongs.
    """
    if config not in RECIPES:
        raise DataError(f"shapes: no config {config!r}.{nearest(config, RECIPES)}")
    settings = {"config": config, "data_dir": data_dir, "file_format": "array_record"}
    builder = Shapes(**settings)
    if builder.data_path.exists():
        if not builder.is_prepared():
            raise DataError(
                f"{builder.data_dir}: no complete data set (no dataset_info.json). Delete or rename this folder."
            )
        return builder
    builder.progress = progress
    failure = None
    try:
        with _quiet_tfds():
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:  # a full disk is array_record's RuntimeError
        # Perhaps only because another process has renamed its finished folder first; that is as good as ours.
        failure = error
    if not builder.data_path.exists():
        cure = "Make room there, give another data_dir, or set TFDS_DATA_DIR."
        raise DataError(f"{builder.data_dir}: cannot be written ({failure}). {cure}") from failure
    return Shapes(**settings)  # a builder knows the splits only if it was made after them
