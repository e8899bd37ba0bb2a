"""Data whose classes are not those of a network."""

import pickle

import numpy as np
import pytest

from cnnvision.data.sources import open_source
from cnnvision.data.wrappers.cache import cached
from cnnvision.data.wrappers.subset import Subset, learnable, with_semantic_classes
from cnnvision.errors import DataError
from tests.data.planted import coco_annotation, coco_set, encoded, masks_set, two_fields, write

TABLE = "value,name\n0,wall\n1,cell\n2,dirt\n9,ignore\n"


def opened(root):
    """Classes wall, cell, dirt; the map of the first example has all of them, and pixels that do not count."""
    masks_set(root, left=0, right=1)
    values = two_fields(left=0, right=1)
    values[0, :2] = 2, 9
    write(root / "train" / "mask" / "0.png", encoded(values))
    write(root / "classes.csv", TABLE)
    return open_source(f"masks:{root}", "train")


def test_classes_of_the_same_names_are_left_as_they_are(tmp_path):
    source = opened(tmp_path)
    assert with_semantic_classes(source, source.semantic_classes) is source
    assert with_semantic_classes(source, ()) is source
    swapped = with_semantic_classes(source, ("dirt", "wall", "cell"))
    assert swapped.problems == source.problems == [] and swapped.semantic_classes == ("dirt", "wall", "cell")
    assert swapped.read(0, masks=True).semantic[0, [0, 1, 2, 39]].tolist() == [0, 255, 1, 2]
    assert swapped.ids == source.ids and len(swapped) == 3 and swapped.read(0).semantic is None


def test_what_the_lists_do_not_have_in_common_is_said_first(tmp_path):
    source = opened(tmp_path)
    source.problems.append("another")
    renamed = with_semantic_classes(source, ("cell", "mitosis", "wall", "nucleus"))
    assert renamed.read(0, masks=True).semantic[0, [0, 1, 2, 39]].tolist() == [255, 255, 2, 0]
    unknown, absent, other = renamed.problems
    assert (unknown.file, unknown.value, unknown.effect) == (source.name, "dirt", "object left out")
    assert "1 of 3 classes are not among those of the network" in unknown.message and "no metric" in unknown.message
    assert unknown.cure.endswith("one that it knows: mitosis, nucleus.")
    assert (absent.value, absent.effect, other) == ("mitosis, nucleus", "kept", "another")
    assert "2 of the 4 classes of the network are none of the data's" in absent.message
    assert source.problems == ["another"]
    assert Subset(renamed, [1]).problems == pickle.loads(pickle.dumps(renamed)).problems == renamed.problems


def test_one_sided_differences_are_one_problem(tmp_path):
    source = opened(tmp_path)
    (problem,) = with_semantic_classes(source, ("wall", "cell")).problems
    assert problem.value == "dirt" and problem.cure.endswith("knows: wall, cell.")
    (problem,) = with_semantic_classes(source, ("wall", "cell", "dirt", *map(str, range(40)))).problems
    assert problem.value.startswith("0, 1, 2") and problem.value.endswith("19 …")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("road", "sky"), "not one of them is among both"),
        (("Wall", "Cell"), "maps of wall, cell, dirt, and the network knows Wall, Cell"),
        (("cell", "sky"), "only 'cell' is among both"),
        (("sky",), "not one of them"),
    ],
)
def test_fewer_than_two_common_classes_are_refused(tmp_path, names, words):
    with pytest.raises(DataError, match=words) as caught:
        with_semantic_classes(opened(tmp_path), names)
    assert "Give them the names that the network knows" in str(caught.value)


def test_data_without_maps_are_refused(tmp_path):
    source = opened(tmp_path)
    source.semantic_classes = ()
    with pytest.raises(DataError, match="has maps of no classes, and the network knows wall, cell"):
        with_semantic_classes(source, ("wall", "cell"))


def test_the_one_class_of_a_network_is_enough(tmp_path):
    renamed = with_semantic_classes(opened(tmp_path), ("cell",))
    assert np.unique(renamed.read(0, masks=True).semantic).tolist() == [0, 255] and len(renamed.problems) == 1


def test_ids_of_images_and_categories_go_through_all_wrappers(tmp_path):
    """Those of images go with the examples; a source without them has none in any wrapper."""
    part = cached(Subset(Subset(open_source(f"coco:{coco_set(tmp_path / 'coco')}", "train"), [1, 0]), [1]), 1)
    assert part.ids == ("train2017/10.png",) and part.image_ids == (10,) and part.category_ids == (3, 7)
    assert not hasattr(Subset(opened(tmp_path / "masks"), [0]), "image_ids")


def test_images_without_objects_teach_background_where_the_user_says_so(tmp_path):
    """Of the images of train one has objects, one none, one a crowd alone."""
    crowd = [coco_annotation(1, 10, 7, (2, 3, 10, 20)), coco_annotation(2, 40, 7, (2, 3, 10, 20), iscrowd=1)]
    root = coco_set(tmp_path, crowd, [{"id": 40, "file_name": "40.png", "height": 30, "width": 40}])
    write(root / "train2017" / "40.png", encoded(two_fields()))
    source = open_source(f"coco:{root}", "train")
    keep, reason = learnable(source, "objects")
    assert keep == [0] and reason == "2 of 3 images have no object to learn from, 1 of them crowd (or difficult) alone"
    keep, reason = learnable(source, "objects", "background")
    assert keep == [0, 1] and reason.startswith("1 of 3 images")
