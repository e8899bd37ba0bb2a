"""ImageNet weights on photographs, whose classes were written down from the pictures before any network saw them."""

import numpy as np
from PIL import Image

from cnnvision.pretrained.start import load_pretrained
from tests.pretrained.networks import logits, shapes

PHOTOGRAPHS = {
    "train2017/000000000081.jpg": 404,  # airliner, from below
    "val2017/000000005477.jpg": 404,  # airliner, taxiing
    "train2017/000000000502.jpg": 295,  # American black bear
    "val2017/000000000285.jpg": 294,  # brown bear
    "train2017/000000000034.jpg": 340,  # zebra
    "train2017/000000000471.jpg": 779,  # school bus
    "train2017/000000000397.jpg": 963,  # pizza
    "val2017/000000000776.jpg": 850,  # teddy bears
    "train2017/000000000036.jpg": 879,  # umbrella
    "val2017/000000007108.jpg": 386,  # African elephant
}
"""File of COCO -> index among ImageNet's 1000 classes in their usual order."""


def photograph(path):
    """float32 [224, 224, 3] in (pixel - 127) / 128: the shorter side brought to 256, then the centre."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    return (np.asarray(image, np.float32) - 127) / 128


def test_imagenet_weights_recognise_photographs(shared_data):
    images = np.stack([photograph(shared_data / "coco128" / name) for name in PHOTOGRAPHS])
    params, model_state, _ = load_pretrained("imagenet", "efficientnet_lite0", *shapes("efficientnet_lite0", head_conv=True))
    scores = logits("efficientnet_lite0", head_conv=True)(params, model_state, images)
    right = np.argmax(scores, axis=-1) == np.array(list(PHOTOGRAPHS.values()))
    assert right.sum() >= 8, dict(zip(PHOTOGRAPHS, right, strict=True))
