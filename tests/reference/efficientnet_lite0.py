"""EfficientNet-Lite0 in NumPy, from the names and shapes of its state dict; slow, and it shares nothing with the package."""

import numpy as np

FIRST_OF_STRIDE_2 = (1, 3, 5, 11)
"""Blocks that halve the map; the stem does too."""


def logits(state: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """float64 [classes] from a normalised image [h, w, 3]; `state` has torch's keys and axes."""
    state = {key: array.astype(np.float64) for key, array in state.items()}
    x = relu6(norm(state, "_bn0", convolve(image.astype(np.float64), state["_conv_stem.weight"], 2)))
    for i in range(16):
        block = f"_blocks.{i}."
        y = x
        if f"{block}_expand_conv.weight" in state:
            y = relu6(norm(state, f"{block}_bn0", convolve(y, state[f"{block}_expand_conv.weight"], 1)))
        stride = 2 if i in FIRST_OF_STRIDE_2 else 1
        y = relu6(norm(state, f"{block}_bn1", convolve_depthwise(y, state[f"{block}_depthwise_conv.weight"], stride)))
        y = norm(state, f"{block}_bn2", convolve(y, state[f"{block}_project_conv.weight"], 1))
        x = x + y if x.shape == y.shape else y
    x = relu6(norm(state, "_bn1", convolve(x, state["_conv_head.weight"], 1)))
    return state["_fc.weight"] @ x.mean((0, 1)) + state["_fc.bias"]


def windows(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """[oh, ow, size, size, c] under TensorFlow's SAME padding: as little as needed, an odd pixel at the bottom and right."""
    outputs = [-(-side // stride) for side in image.shape[:2]]
    missing = [max((n - 1) * stride + size - side, 0) for n, side in zip(outputs, image.shape[:2], strict=True)]
    padded = np.pad(image, [*((n // 2, n - n // 2) for n in missing), (0, 0)])
    starts = [range(0, n * stride, stride) for n in outputs]
    return np.array([[padded[y : y + size, x : x + size] for x in starts[1]] for y in starts[0]])


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """[h, w, i] with a kernel [o, i, size, size] -> [oh, ow, o]."""
    patches = windows(image, kernel.shape[-1], stride)
    flat = patches.transpose(0, 1, 4, 2, 3).reshape(*patches.shape[:2], -1)
    return flat @ kernel.reshape(len(kernel), -1).T


def convolve_depthwise(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """[h, w, c] with a kernel [c, 1, size, size] -> [oh, ow, c]."""
    return np.einsum("yxijc,cij->yxc", windows(image, kernel.shape[-1], stride), kernel[:, 0])


def norm(state: dict[str, np.ndarray], name: str, image: np.ndarray) -> np.ndarray:
    """BatchNorm by its running statistics."""
    deviation = np.sqrt(state[f"{name}.running_var"] + 1e-3)
    return (image - state[f"{name}.running_mean"]) / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)
