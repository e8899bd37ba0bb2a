"""What the classes of a file of weights are called."""

import numpy as np
import pytest

from cnnvision.errors import WeightsError
from cnnvision.pretrained.class_names import class_names, imagenet_names, imagenet_names_in, wordnet_ids
from cnnvision.pretrained.coco_ids import COCO_IDS
from tests.pretrained.test_photographs import PHOTOGRAPHS

DETECTOR = {"backbone.body.conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}


def detector(outputs):
    return {**DETECTOR, "roi_heads.box_predictor.cls_score.bias": np.zeros(outputs, np.float32)}


def test_published_numbers_of_classes_have_their_names():
    assert class_names(detector(91), "resnet50") == tuple(COCO_IDS)
    for backbone, layer in (("resnet18", "fc"), ("vgg16", "classifier.6"), ("efficientnet_lite0", "_fc")):
        assert class_names({f"{layer}.bias": np.zeros(1000)}, backbone, known=True) == imagenet_names()


def test_other_numbers_are_counted_as_the_file_counts():
    assert class_names(detector(4), "resnet50") == ("class 1", "class 2", "class 3")
    assert class_names({"fc.bias": np.zeros(3)}, "resnet18") == ("class 0", "class 1", "class 2")
    with pytest.raises(WeightsError, match=r"x\.pth: is for 3 classes whose names it does not say"):
        class_names(detector(4), "resnet50", "x.pth", known=True)


def test_of_ssd_s_file_the_outputs_of_one_default_box_count():
    head = {"classification": 4 * 6, "regression": 4 * 6}
    heads = {f"head.{name}_head.module_list.0.bias": np.zeros(count, np.float32) for name, count in head.items()}
    state = {"backbone.features.0.weight": np.zeros((64, 3, 3, 3), np.float32), **heads}
    assert class_names(state, "vgg16_dilated") == ("class 1", "class 2", "class 3")
    with pytest.raises(WeightsError, match=r"x\.pth: is for 3 classes whose names it does not say"):
        class_names(state, "vgg16_dilated", "x.pth", known=True)
    state["head.classification_head.module_list.0.bias"] = np.zeros(91 * 6, np.float32)
    assert class_names(state, "vgg16_dilated", known=True) == tuple(COCO_IDS)


@pytest.mark.parametrize(("state", "layer"), [(DETECTOR, r"roi_heads\.box_predictor\.cls_score"), ({}, "fc")])
def test_a_file_without_a_layer_of_classes(state, layer):
    with pytest.raises(WeightsError, match=rf"x\.pth: has no layer {layer}.*--workdir=DIR"):
        class_names(state, "resnet50", "x.pth")


def test_the_names_of_imagenet_are_in_the_order_of_its_weights():
    """At the places that photographs were recognised at; each name and each of WordNet's ids is one class alone."""
    names = imagenet_names()
    assert len(names) == len(set(names)) == len(set(wordnet_ids())) == 1000
    assert [names[index] for index in PHOTOGRAPHS.values()] == [
        "airliner", "airliner", "American black bear", "brown bear", "zebra", "school bus", "pizza", "teddy", "umbrella",
        "African elephant",
    ]  # fmt: skip
    assert (names[0], wordnet_ids()[0]) == ("tench", "n01440764") and names[638:640] == ("maillot", "maillot, tank suit")
    assert imagenet_names_in(("n01440764", "n02504458")) == wordnet_ids()
    assert imagenet_names_in(("tench", "zebra")) == imagenet_names_in(()) == names
