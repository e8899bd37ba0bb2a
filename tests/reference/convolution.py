"""Convolution, pooling and their gradients in NumPy, one output pixel at a time, in float64."""

import numpy as np


def padding(size: int, kernel: int, stride: int, rule: str) -> tuple[int, int]:
    """(before, after) along one axis: "torch" half the kernel, "SAME" as TensorFlow's documents, "VALID" none; a number."""
    if rule == "torch":
        return kernel // 2, kernel // 2
    if rule == "VALID":
        return 0, 0
    if isinstance(rule, int):
        return rule, rule
    total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
    return total // 2, total - total // 2


def starts(shape: tuple[int, ...], kernel: int, stride: int, rule: str) -> tuple[range, range]:
    """Rows and columns, in the image's own pixels, at which windows begin; some lie outside."""
    ranges = []
    for size in shape[1:3]:
        before, after = padding(size, kernel, stride, rule)
        ranges.append(range(-before, size + after - kernel + 1, stride))
    return tuple(ranges)


def windows(shape: tuple[int, ...], kernel: int, stride: int, rule: str):
    """Yields (output row and column, row and column in the window, image row and column) for all pixels inside the image."""
    rows, columns = starts(shape, kernel, stride, rule)
    for y, top in enumerate(rows):
        for x, left in enumerate(columns):
            for i in range(kernel):
                for j in range(kernel):
                    if 0 <= top + i < shape[1] and 0 <= left + j < shape[2]:
                        yield y, x, i, j, top + i, left + j


def depthwise(image: np.ndarray, kernel: np.ndarray, stride: int, rule: str, gradient: np.ndarray | None = None):
    """(output, gradient to image, gradient to kernel) for a kernel [k, k, 1, c]; gradients for that of the output."""
    image, kernel = np.asarray(image, np.float64), np.asarray(kernel, np.float64)
    rows, columns = starts(image.shape, len(kernel), stride, rule)
    output = np.zeros((len(image), len(rows), len(columns), image.shape[3]))
    to_image, to_kernel = np.zeros_like(image), np.zeros_like(kernel)
    gradient = np.zeros_like(output) if gradient is None else np.asarray(gradient, np.float64)
    for y, x, i, j, row, column in windows(image.shape, len(kernel), stride, rule):
        output[:, y, x] += image[:, row, column] * kernel[i, j, 0]
        to_image[:, row, column] += gradient[:, y, x] * kernel[i, j, 0]
        to_kernel[i, j, 0] += (image[:, row, column] * gradient[:, y, x]).sum(0)
    return output, to_image, to_kernel


def full(image: np.ndarray, kernel: np.ndarray, stride: int, rule: str, gradient: np.ndarray | None = None):
    """As `depthwise`, for a kernel [k, k, i, o] from all channels to all."""
    image, kernel = np.asarray(image, np.float64), np.asarray(kernel, np.float64)
    rows, columns = starts(image.shape, len(kernel), stride, rule)
    output = np.zeros((len(image), len(rows), len(columns), kernel.shape[3]))
    to_image, to_kernel = np.zeros_like(image), np.zeros_like(kernel)
    gradient = np.zeros_like(output) if gradient is None else np.asarray(gradient, np.float64)
    for y, x, i, j, row, column in windows(image.shape, len(kernel), stride, rule):
        output[:, y, x] += image[:, row, column] @ kernel[i, j]
        to_image[:, row, column] += gradient[:, y, x] @ kernel[i, j].T
        to_kernel[i, j] += image[:, row, column].T @ gradient[:, y, x]
    return output, to_image, to_kernel


def max_pool(image: np.ndarray, size: int, stride: int, rule: str, gradient: np.ndarray):
    """(output, gradient to image): the first of equal pixels, row by row, gets the window's gradient."""
    image, gradient = np.asarray(image, np.float64), np.asarray(gradient, np.float64)
    rows, columns = starts(image.shape, size, stride, rule)
    output = np.full((len(image), len(rows), len(columns), image.shape[3]), -np.inf)
    winner = np.zeros((*output.shape, 2), int)
    for y, x, _, _, row, column in windows(image.shape, size, stride, rule):
        larger = image[:, row, column] > output[:, y, x]
        output[:, y, x][larger] = image[:, row, column][larger]
        winner[:, y, x][larger] = row, column
    to_image = np.zeros(image.shape)
    for b, y, x, c in np.ndindex(*output.shape):
        to_image[b, *winner[b, y, x, c], c] += gradient[b, y, x, c]
    return output, to_image
