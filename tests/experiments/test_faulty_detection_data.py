"""Detection data with every fault at once: `doctor` names each, training counts what it leaves out, and goes on."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cnnvision.data.sources.coco.writer import write_coco
from cnnvision.runs.configuration import load_config
from cnnvision.runs.join import join
from cnnvision.training.evaluate import remarks
from cnnvision.training.sharding import make_mesh
from experiments import doctor
from tests.conftest import ROOT
from tests.data.drawn import Drawn
from tests.data.planted import (
    add_to_voc,
    coco_annotation,
    encoded,
    found,
    half,
    picture,
    voc_object,
    voc_set,
    voc_xml,
    write,
)

STEPS, ROWS = 4, 8


def joined(data, workdir, **model):
    """The run, and what is said before it begins."""
    config, said = load_config(f"{ROOT}/configs/{model.pop('name')}_shapes.py:smoke"), []
    config.data.update(source=data, train_split="train", eval_split="train", threads=0)
    config.model.update(model)
    return join(config, workdir, make_mesh(jax.devices()[:1]), say=said.append), said


def check_batches(run, readable):
    """Every batch can be learnt from (the pipeline checks boxes and labels), and each image comes up. Returns what fails."""
    loaded = list(run.train_batches(0, STEPS))
    assert len(loaded) == STEPS and all(one.batch.image.shape[0] == ROWS for one in loaded)
    seen = np.concatenate([one.batch.index[one.batch.valid] for one in loaded])
    assert len(set(seen.tolist())) == readable
    assert sum(int(one.batch.valid.sum()) + len(one.failures) for one in loaded) == STEPS * ROWS
    return {problem.file for one in loaded for problem in one.failures}, sum(one.dropped_objects for one in loaded)


@pytest.fixture
def coco(tmp_path):
    """20 images, of which 4 have no object; then the faults, each in an image of its own."""
    root = tmp_path / "coco"
    write_coco([Drawn(20)], root, progress=False)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    images, annotations, categories = (content[name] for name in ("images", "annotations", "categories"))
    number = iter(range(1000, 2000))
    add = lambda **fields: annotations.append(
        {**coco_annotation(next(number), 1, 1, (2, 3, 9, 9), segmentation=[]), **fields}
    )
    add(image_id=999)
    add(bbox=[30, 30, -10, -12])
    add(bbox=[5, 5, 0, 10])
    add(bbox=[500, 500, 10, 10])
    add(category_id=44)
    add(segmentation={"size": [7, 9], "counts": [63]})
    annotations += [dict(annotations[0]), {**annotations[0], "bbox": [1, 1, 5, 5]}]
    images += [{"id": 77, "file_name": "gone.png"}, dict(images[1]), {**images[2], "file_name": images[3]["file_name"]}]
    categories += [dict(categories[0]), {"id": 9, "name": categories[1]["name"]}]
    path.write_text(json.dumps(content))
    write(root / "train" / "unlisted.png", encoded(picture(9)))
    broken = root / "train" / images[5]["file_name"]
    broken.write_bytes(half(broken.read_bytes()))
    return root


def test_coco(coco, tmp_path):
    report = doctor.run(f"coco:{coco}", "train", progress=False)
    for fields in (
        dict(record="annotation 1000", effect="object left out", words="no image with this id"),
        dict(record="annotation 1001", effect="repaired", words="wrong order"),
        dict(record="annotation 1002", effect="object left out", words="the box is empty"),
        dict(record="annotation 1003", effect="object left out", words="outside the image"),
        dict(record="annotation 1004", effect="object left out", words="no category with this id"),
        dict(record="annotation 1005", effect="repaired", words="its size is [7, 9]"),
        dict(record="annotation 1", effect="repaired", words="repeats another one"),
        dict(record="annotation 1", effect="kept", words="belongs to another already"),
        dict(record="image 77", effect="left out", words="no such file"),
        dict(record="image 2", effect="repaired", words="listed 2 times"),
        dict(record="image 3", effect="left out", words="2 images have this id"),
        dict(record="category 1", effect="repaired", words="repeats another one"),
        dict(record="category 9", effect="repaired", words="has the name of category 2"),
        dict(value="train/unlisted.png", effect="left out", words="not listed"),
        dict(file="train/image 5.png", effect="left out", words="breaks off"),
    ):
        found(report, **fields)
    assert not report.healthy and report.splits["train"].examples == 18

    run, said = joined(f"coco:{coco}", tmp_path / "run", name="faster_rcnn", max_objects=2)
    assert "(3 left out, 4 object left out, " in said[0] and "The gravest" in said[0] and "left out. " in said[0]
    assert "4 of 19 images have no object to learn from; they are left out" in said[-1]
    failed, dropped = check_batches(run, readable=14)
    assert failed == {"train/image 5.png"} and dropped > 0


def test_evaluation_has_room_for_all_objects(tmp_path):
    """Training leaves out what is beyond `max_objects`, and counts it; the loss and the recall of a split do not."""
    root = tmp_path / "coco"
    write_coco([Drawn(20)], root, progress=False)
    run, _ = joined(f"coco:{root}", tmp_path / "run", name="faster_rcnn", max_objects=1)
    loaded = list(run.evaluation.batches())
    most = max(len(Drawn(20).read(index).objects.boxes) for index in range(20))
    assert {one.batch.target.valid.shape[1] for one in loaded} == {most} and most > 1
    assert sum(one.dropped_objects for one in loaded) == 0
    assert {one.batch.target.valid.shape[1] for one in run.train_batches(0, 1)} == {1}


def test_what_is_said_of_an_evaluation():
    """A detector's loss is finite where nothing but background counts; what it is judged by is not defined then."""
    about = SimpleNamespace(failures=["a.png is broken"], dropped=0, task=SimpleNamespace(best=("AP", "max")))
    assert remarks(about, {"loss": 1.0, "AP": 0.0}) == ["not evaluated on: a.png is broken"]
    about.failures, about.dropped = [], 3
    assert "3 objects found no room" in remarks(about, {"loss": 1.0, "AP": 0.5})[0]
    about.dropped = 0
    for best, metrics in ((("AP", "max"), {"loss": 1.0, "AP": np.nan}), (None, {"loss": np.nan}), (None, {"AP": np.nan})):
        about.task.best = best
        assert [line.startswith("nothing in what is evaluated on counts") for line in remarks(about, metrics)] == [True]
    assert not remarks(about, {})


def test_voc(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNVISION_PROPOSALS", str(tmp_path / "proposals"))
    root, dog = voc_set(tmp_path / "voc"), voc_object("dog", (3, 4, 20, 25))
    for name, xml, image in (
        ("flipped", voc_xml("flipped", voc_object("dog", (20, 25, 3, 4))), True),
        ("empty", voc_xml("empty", voc_object("dog", (5, 5, 5, 9))), True),
        ("outside", voc_xml("outside", voc_object("cat", (300, 300, 400, 400))), True),
        ("blind", voc_xml("blind", dog), False),
        ("lonely", None, True),
        ("other", voc_xml("other", dog, width=99), True),
        ("a", None, False),
    ):
        add_to_voc(root, name, xml, encoded(picture(sum(map(ord, name)))) if image else None)
    write(root / "JPEGImages" / "unlisted.png", encoded(picture(9)))
    write(root / "JPEGImages" / "b.bmp", encoded(picture(8), "BMP"))
    broken = write(root / "JPEGImages" / "broken.png", half(encoded(picture(7))))
    add_to_voc(root, "broken", voc_xml("broken", dog), broken.read_bytes())

    report = doctor.run(f"voc:{root}", "train", progress=False)
    for fields in (
        dict(file="Annotations/flipped.xml", effect="repaired", words="wrong order"),
        dict(file="Annotations/empty.xml", effect="object left out", words="the box is empty"),
        dict(file="Annotations/outside.xml", effect="object left out", words="outside the image"),
        dict(file="Annotations/blind.xml", effect="left out", words="no image"),
        dict(value="lonely", effect="left out", words="no XML"),
        dict(file="Annotations/other.xml", effect="left out", words="another picture"),
        dict(value="a", effect="repaired", words="repeats line 1"),
        dict(file="JPEGImages/unlisted.png", effect="left out", words="no XML"),
        dict(file="JPEGImages/b.png", effect="left out", words="the name of b.bmp"),
        dict(file="JPEGImages/broken.png", effect="left out", words="breaks off"),
    ):
        found(report, **fields)
    assert not report.healthy and report.splits["train"].examples == 5

    run, said = joined(f"voc:{root}", tmp_path / "run", name="fast_rcnn")
    assert "(5 left out, 2 object left out, 2 repaired)" in said[0]
    assert "2 of 6 images have no object to learn from; they are left out" in said[-1]
    assert check_batches(run, readable=3) == ({"JPEGImages/broken.png"}, 0)
