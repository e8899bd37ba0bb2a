"""torchvision's side of experiments/benchmark.py, run by the Python of an environment that has it; nothing of ours is in it.

    PYTHON experiments/benchmark_torchvision.py NETWORK FILE

FILE: .npz with `image` uint8 [b, h, w, 3] and, for a detector, `boxes` [b, n, 4] of the objects and the weights by key.
Reads lines "PASS ROUNDS" and writes for each {"seconds": of each round, "gib": the most memory that the process had}.
"""

import json
import resource
import sys
import time


def detector(network: str, image, boxes, weights: dict, device: str):
    """A detector as torchvision trains it on COCO, with its two passes."""
    import torch
    from torchvision.models.detection import FasterRCNN, MaskRCNN, ssd300_vgg16
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    height, width = image.shape[2:]
    if network == "ssd300_vgg16":
        model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)
    else:
        kind, options = MaskRCNN if network.startswith("maskrcnn") else FasterRCNN, {"norm_layer": FrozenBatchNorm2d}
        backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3, **options)
        model = kind(backbone, num_classes=91, min_size=min(height, width), max_size=max(height, width))
    model.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
    model.to(device)
    images, boxes = list(image), torch.from_numpy(boxes).to(device)
    labels = torch.ones(boxes.shape[1], dtype=torch.long, device=device)
    targets = [{"boxes": each, "labels": labels} for each in boxes]
    if network.startswith("maskrcnn"):
        for target in targets:
            target["masks"] = torch.zeros(len(labels), height, width, dtype=torch.uint8, device=device)
            for mask, (x1, y1, x2, y2) in zip(target["masks"], target["boxes"].round().int().tolist(), strict=True):
                mask[y1:y2, x1:x2] = 1
    return model, lambda: model(images), lambda: sum(model(images, targets).values())


def classifier(backbone: str, image):
    """A classifier of 1,000 classes, with its two passes."""
    import torch
    import torchvision

    model = getattr(torchvision.models, backbone)(weights=None).to(image.device)
    labels = torch.zeros(len(image), dtype=torch.long, device=image.device)
    return model, lambda: model(image), lambda: torch.nn.functional.cross_entropy(model(image), labels)


def serve(network: str, file: str) -> None:
    """Measures as it is told on standard input, until that ends."""
    import numpy as np
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = dict(np.load(file))
    image = torch.from_numpy(shared.pop("image")).to(device).permute(0, 3, 1, 2).contiguous() / 255
    if "boxes" in shared:
        model, predict, loss = detector(network, image, shared.pop("boxes"), shared, device)
    else:
        model, predict, loss = classifier(network, image)
    # Weights are random, so that no step may move them far.
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-5, momentum=0.9)

    def forward():
        model.eval()
        with torch.inference_mode():
            predict()

    def train():
        model.train()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    for line in sys.stdin:
        name, rounds = line.split()
        seconds = []
        for _ in range(int(rounds) + 1):
            began = time.perf_counter()
            {"forward": forward, "train": train}[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": seconds[1:], "gib": gib}), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
