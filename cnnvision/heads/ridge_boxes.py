"""A linear regression of boxes for each class, from the features of a region (Girshick et al. 2014, section 3.5 and appendix
C). On the host.

    w = argmin Σ (t − wᵀ φ)² + λ ‖w‖²,    λ = 1000

t are the deltas (ops/boxes.py) from a region to the object that it overlaps most, of regions with an IoU of at least 0.6.
As in the published code, features have a mean norm of 20, a feature of 1 stands for the bias, and targets are centred. (It
whitens them, too, which changes nothing: the solution is linear in the targets.)
"""

import numpy as np
from jaxtyping import Float

from cnnvision.heads.linear_svm import Read, scale_of


def fit_boxes(
    read: Read, classes: int, regularization: float
) -> tuple[Float[np.ndarray, "k d 4"], Float[np.ndarray, "k 4"]]:
    """(kernel, bias): features @ kernel[k] + bias[k] are the deltas of a region if it holds class k.

    A class without examples moves nothing. One class's examples are in memory at a time.

    Args:
        read: () -> batches with "features" [b, r, d], "valid" [b, r], "labels" int [b, r], "deltas" [b, r, 4].
        classes: k.
        regularization: λ.
    """
    scale, kernels, biases = scale_of(read), [], []
    for k in range(classes):
        features, deltas = [], []
        for batch in read():
            of_class = batch["valid"] & (batch["labels"] == k)
            features.append(batch["features"][of_class].astype(np.float64) * scale)
            deltas.append(batch["deltas"][of_class].astype(np.float64))
        kernel, bias = _ridge(np.concatenate(features), np.concatenate(deltas), regularization)
        kernels.append(kernel * scale)
        biases.append(bias)
    return np.stack(kernels).astype(np.float32), np.stack(biases).astype(np.float32)


def _ridge(features: np.ndarray, targets: np.ndarray, regularization: float) -> tuple[np.ndarray, np.ndarray]:
    if not len(features):
        return np.zeros((features.shape[1], targets.shape[1])), np.zeros(targets.shape[1])
    mean = targets.mean(axis=0)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    if len(features) < features.shape[1]:  # the same, by the smaller of the two matrices
        within = features @ features.T
        weights = features.T @ np.linalg.solve(within + regularization * np.eye(len(within)), targets - mean)
    else:
        between = features.T @ features
        weights = np.linalg.solve(between + regularization * np.eye(len(between)), features.T @ (targets - mean))
    return weights[:-1], weights[-1] + mean
