"""The doctor: faults of semantic maps and of instance masks."""

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.doctor import examine
from cnnvision.data.sources import open_source
from tests.data.planted import (
    coco_annotation,
    coco_set,
    encoded,
    found,
    half,
    instances_set,
    masks_set,
    picture,
    three_objects,
    two_fields,
    write,
)


@pytest.mark.parametrize("make", [coco_set, instances_set])
def test_sound_sets_with_masks_are_healthy(tmp_path, make):
    make(tmp_path)
    report = examine(f"{make.__name__.removesuffix('_set')}:{tmp_path}", progress=False)
    assert report.healthy and not report.problems and len(report.splits) == 2


def test_faults_of_semantic_masks(tmp_path):
    root = masks_set(tmp_path)
    write(root / "classes.csv", "value,name\n0,wall\n255,cell\n9,ignore\n")
    sound = encoded(two_fields())
    for seed, (name, mask) in enumerate(
        {
            "alone": None,
            "blank": encoded(two_fields(left=9, right=9)),
            "colour": encoded(picture(40)),
            "deep": encoded(Image.fromarray(two_fields().astype(np.uint16) * 2)),
            "float": encoded(two_fields().astype(np.float32), "TIFF"),
            "half": encoded(np.random.default_rng(0).integers(0, 2, (30, 40), np.uint8) * 255)[:150],
            "one": encoded(two_fields(left=255)),
            "part": encoded(two_fields(left=9)),
            "photo": encoded(two_fields(), "JPEG"),
            "short": encoded(two_fields(29)),
            "smooth": encoded(two_fields(left=127)),
            "bits": encoded(two_fields() > 0),
        }.items()
    ):
        write(root / "train" / "image" / f"{name}.png", encoded(picture(60 + seed)))
        if mask:
            write(root / "train" / "mask" / f"{name}.png", mask)
    write(root / "train" / "mask" / "lone.png", sound)
    report = examine(f"masks:{root}", progress=False)
    found(report, file="train/image/alone.png", effect="left out", words="no mask")
    found(report, file="train/image/blank.png", field="semantic", effect="kept", words="ignored in every pixel")
    found(report, file="train/mask/colour.png", effect="left out", words="colour-coded")
    found(report, file="train/mask/deep.png", field="semantic", value="510", effect="left out", words="no class")
    found(report, file="train/mask/float.png", effect="left out", words="mode F")
    found(report, file="train/mask/half.png", effect="left out", words="breaks off")
    found(report, file="train/mask/lone.png", effect="left out", words="no image")
    found(report, file="train/mask/photo.png", effect="left out", words="JPEG")
    found(report, file="train/mask/short.png", field="size", value="40 x 29", effect="left out", words="not as large")
    found(report, file="train/mask/smooth.png", field="semantic", value="127", effect="left out", words="no class")
    assert len(report.problems) == 10 and not report.healthy
    assert report.splits["train"].examples == 3 + 4
    assert report.splits["train"].pixels == {"wall": 4 * 300, "cell": 5 * 900 + 1200, "(ignore)": 1200 + 300}
    assert len(open_source(f"masks:{root}", "train")) == 3 + 8, "what headers do not tell is found when it is read"


def test_faults_of_instance_masks(tmp_path):
    root = instances_set(tmp_path)
    write(root / "train" / "images" / "none.png", encoded(picture(60)))
    write(root / "train" / "masks" / "none.png", encoded(np.zeros((30, 40), np.uint8)))
    write(root / "train" / "masks" / "1.png", encoded(three_objects()[:, :39].astype(np.uint8)))
    report = examine(f"instances:{root}", progress=False)
    found(report, file="train/masks/none.png", effect="kept", words="no object")
    found(report, file="train/masks/1.png", field="size", value="39 x 30", effect="left out", words="not as large")
    assert len(report.problems) == 2 and report.splits["train"].objects == {"object": 3}
    assert "train: images without a usable object: 1." in report.notes


def test_faults_of_coco(tmp_path):
    thin = [[1, 1, 1, 1, 1, 1]]
    annotations = [coco_annotation(1, 10, 7, (1, 1, 2, 2), segmentation=thin), coco_annotation(2, 99, 7, (1, 1, 2, 2))]
    root = coco_set(tmp_path, annotations)
    file = root / "train2017" / "20.png"
    file.write_bytes(half(file.read_bytes()))
    report = examine(f"coco:{root}", progress=False)
    where = "annotations/instances_train2017.json"
    found(report, file="train2017/10.png", record="object 0", field="masks", effect="kept", words="covers no pixel")
    found(report, file=where, record="annotation 2", field="image_id", value="99", effect="object left out")
    found(report, file="train2017/20.png", effect="left out", words="breaks off")
    assert len(report.problems) == 3 and report.splits["train2017"].objects == {"cat": 0, "dog": 1}


def test_a_mask_elsewhere_than_its_box(tmp_path):
    corner = [[0, 0, 4, 0, 4, 4, 0, 4]]
    annotations = [
        coco_annotation(1, 10, 7, (0, 0, 4, 4), segmentation=corner),
        coco_annotation(2, 10, 7, (10, 10, 4, 4), segmentation=corner),
    ]
    report = examine(f"coco:{coco_set(tmp_path, annotations)}", progress=False)
    found(report, file="train2017/10.png", record="object 1", field="box", effect="kept", words="lies in 0 0 4 4 (IoU 0.00)")
    assert len(report.problems) == 1


def test_real_data(shared_data):
    report = examine(f"masks:{shared_data / 'membrane'}", progress=False)
    assert report.healthy and [report.splits[split].examples for split in ("train", "val")] == [19, 5]
    assert len(report.problems) == 1 and sum(report.splits["val"].pixels.values()) == 5 * 512 * 512
