"""torchvision's side of experiments/benchmark.py, run by the Python of an environment that has it; nothing of ours is in it.

    PYTHON experiments/benchmark_torchvision.py NETWORK BATCH SIZE [BOXES]

BOXES: of the objects in each image, JSON, for a detector.
Reads lines "PASS ROUNDS" and writes for each a JSON list of seconds.
"""

import json
import sys
import time


def detector(boxes: list, batch: int, size: int, device: str):
    """Faster R-CNN as torchvision trains it on COCO, with its two passes."""
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3)
    model = FasterRCNN(backbone, num_classes=91, min_size=size, max_size=size).to(device)
    images = list(torch.rand(batch, 3, size, size, device=device))
    labels = torch.ones(len(boxes[0]), dtype=torch.long, device=device)
    targets = [{"boxes": torch.tensor(each, device=device), "labels": labels} for each in boxes]
    return model, lambda: model(images), lambda: sum(model(images, targets).values())


def classifier(backbone: str, batch: int, size: int, device: str):
    """A classifier of 1,000 classes, with its two passes."""
    import torch
    import torchvision

    model = getattr(torchvision.models, backbone)(weights=None).to(device)
    image = torch.randn(batch, 3, size, size, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    return model, lambda: model(image), lambda: torch.nn.functional.cross_entropy(model(image), labels)


def serve(network: str, batch: int, size: int, boxes: str = "") -> None:
    """Measures as it is told on standard input, until that ends."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if boxes:
        model, predict, loss = detector(json.loads(boxes), batch, size, device)
    else:
        model, predict, loss = classifier(network, batch, size, device)
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
        print(json.dumps(seconds[1:]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
