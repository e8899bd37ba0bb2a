"""torchvision's side of experiments/benchmark.py, run by the Python of an environment that has it; nothing of ours is in it.

    python -m experiments.benchmark_torchvision BACKBONE BATCH SIZE

Reads lines "PASS ROUNDS" and answers each with a JSON list of seconds.
"""

import json
import sys
import time


def serve(backbone: str, batch: int, size: int) -> None:
    """Measures as it is told on standard input, until that ends."""
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = getattr(torchvision.models, backbone)(weights=None).to(device)
    image = torch.randn(batch, 3, size, size, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def forward():
        model.eval()
        with torch.inference_mode():
            model(image)

    def train():
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(image), labels).backward()
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
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
