"""`coco:DIR`: semantic maps beside the annotations."""

import pickle

import numpy as np
import pytest
from PIL import Image

from cnnvision.data.faults import DataSetError, RecordError
from tests.data.planted import coco_annotation, coco_set, encoded, two_fields, write
from tests.data.sources.coco.coco_sets import opened, rectangle, told


def semantic(root, **maps):
    """Adds a table and maps: 1 thing, 9 stuff, 200 thing as well, 5 ignore."""
    write(root / "annotations" / "semantic_labels.txt", "0: unlabeled\n1: thing\n9: some stuff\n200 thing\n5: ignore\n")
    for stem, data in maps.items():
        data = data if isinstance(data, bytes) else encoded(Image.fromarray(data))
        write(root / "annotations" / "semantic_train2017" / f"{stem.strip('_')}.png", data)
    return root


def test_semantic_maps(tmp_path):
    values = two_fields(left=9, right=200)
    values[0, :3] = 0, 5, 1
    source = opened(semantic(coco_set(tmp_path), _10=values))
    assert source.semantic_classes == ("thing", "some stuff")
    told(source, file="annotations/semantic_train2017", effect="kept", words="1 images have no semantic map")
    expected = two_fields(left=1, right=0)
    expected[0, :3] = 255, 255, 0
    example = source.read(0, masks=True)
    np.testing.assert_array_equal(example.semantic, expected)
    assert example.semantic.dtype == np.uint8 and source.read(0).semantic is None
    assert (source.read(1, masks=True).semantic == 255).all() and source.read(1, masks=True).semantic.shape == (30, 40)
    assert opened(tmp_path, "val").semantic_classes == ()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(0, masks=True).semantic, expected)


def test_faulty_semantic_maps(tmp_path):
    sound = two_fields(left=1, right=9)
    annotations = [coco_annotation(1, 10, 3, (1, 2, 3, 4)), coco_annotation(2, 20, 7, (5, 6, 7, 8))]
    root = semantic(coco_set(tmp_path, annotations), _10=sound[:29], _20=two_fields(left=1, right=77), _7=sound)
    source = opened(root)
    assert [(p.file, p.effect) for p in source.problems] == [
        ("annotations/semantic_train2017/7.png", "kept"),
        ("annotations/semantic_train2017/10.png", "left out"),
    ]
    assert source.ids == ("train2017/20.png",)
    with pytest.raises(
        RecordError, match=r"semantic_train2017/20\.png, semantic: .*found '77'.*Known values: 0, 1, 5, 9, 200"
    ):
        source.read(0, masks=True)
    write(root / "annotations" / "semantic_train2017" / "20.png", encoded(two_fields(left=1, right=255)))
    with pytest.raises(RecordError, match=r"write a line `255: ignore` into annotations/semantic_labels\.txt\."):
        source.read(0, masks=True)
    write(root / "annotations" / "semantic_train2017" / "20.png", encoded(two_fields(left=0, right=9)))
    write(root / "annotations" / "semantic_labels.txt", "9: stuff\n")
    example = opened(root).read(0, masks=True)
    np.testing.assert_array_equal(example.semantic, two_fields(left=255, right=0))
    assert example.objects.boxes.tolist() == [[5, 6, 12, 14]]
    np.testing.assert_array_equal(example.objects.masks, [rectangle(5, 6, 12, 14)])
    for text, words in [
        ("1: a\nb\n", "line 2"),
        ("1: a\n1: b\n", "line 2"),
        ("70000: a\n", "line 1"),
        ("0: unlabeled\n", "0 classes"),
    ]:
        write(root / "annotations" / "semantic_labels.txt", text)
        with pytest.raises(DataSetError, match=rf"semantic_labels\.txt.*{words}"):
            opened(root)
    (root / "annotations" / "semantic_labels.txt").unlink()
    source = opened(root)
    assert source.semantic_classes == () and source.read(0, masks=True).semantic is None and len(source) == 2
    told(source, file="annotations/semantic_train2017", effect="kept", words="no annotations/semantic_labels.txt")
