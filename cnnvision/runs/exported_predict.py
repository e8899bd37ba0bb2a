"""Predicts with an exported network: python predict.py OUTPUT PHOTOGRAPH ...

Needs jax (with flatbuffers), numpy and pillow alone, and the files that `cnnvision export` wrote beside it. Writes
predictions.json into the folder OUTPUT: the best class of each photograph, or what was found in it, the best first; boxes
are x1 y1 x2 y2 in its pixels, masks COCO's run lengths (not compressed). A map of classes is written as NAME.mask.png.
"""

import json
import math
import pathlib
import sys

import jax.export
import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).resolve().parent
ABOUT = json.loads((HERE / "export.json").read_text())
SIZE = np.array(ABOUT["size"])


def parameters(data, types={"F32": "float32", "BF16": jax.numpy.bfloat16, "I32": "int32", "U32": "uint32"}):  # noqa: B006
    """The arrays of a .safetensors file, by name."""
    start = 8 + int.from_bytes(data[:8], "little")
    read = lambda dtype, shape, data_offsets: np.frombuffer(data[start:][slice(*data_offsets)], types[dtype]).reshape(shape)
    return {name: read(**entry) for name, entry in json.loads(data[8:start]).items()}


def bilinear(values, *positions):
    """Values [H, W] at positions along both axes, the centres of cells at whole numbers."""
    for axis, at in enumerate(positions):
        low = at.astype(int)
        share = (at - low).astype(np.float32).reshape(-1, *[1] * (1 - axis))
        values = values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share
    return values


def resized(image, size):
    """Along each axis a pixel is the mean of 2^k bilinear samples, the power of two nearest to the shrinking; in the whole
    numbers of OpenCV's INTER_LINEAR, whose weights have eleven bits, so that each pixel is the one that was trained on."""
    halve = np.array([max(0, round(math.log2(old / new))) for old, new in zip(image.shape, size)])
    while image.shape[:2] != tuple(size):
        (rows, above, below), (columns, left, right) = map(between, image.shape, size << halve, (False, True))
        image = image.astype(np.int32)
        image = image[:, columns[0]] * left[:, None] + image[:, columns[1]] * right[:, None] >> 4
        image = (image[rows[0]] * above[:, None, None] >> 16) + (image[rows[1]] * below[:, None, None] >> 16) + 2 >> 2
        image, halve = image.astype(np.uint8), np.maximum(halve - 1, 0)
    return image


def between(old, new, across):
    """Of `new` samples along an axis of `old` pixels: the two neighbours and their weights, in units of 1 / 2048."""
    at = ((np.arange(new) + 0.5) * old / new - 0.5).astype(np.float32)
    low = np.floor(at).astype(int)
    share = at - low.astype(np.float32)
    if across:
        share = np.where((low < 0) | (low >= old - 1), np.float32(0), share)
    weigh = lambda share: np.rint(share * np.float32(2048)).astype(np.int32)
    return np.clip([low, low + 1], 0, old - 1), weigh(1 - share), weigh(share)


def inputs(image):
    """What the network sees of a photograph: pixels, their place (position · scale + offset), which count (first, end)."""
    sides = np.array(image.shape[:2])
    if ABOUT["resize"] == "tile":
        step = (SIZE - 2 * ABOUT["margin"]) // ABOUT["tile_step"] * ABOUT["tile_step"]
        for tile in np.ndindex(*-(-sides // step)):
            start = tile * step - ABOUT["margin"]
            at = [abs(np.arange(i, i + n)) % max(2 * m - 2, 1) for i, n, m in zip(start, SIZE, sides)]
            at = [np.minimum(each, 2 * n - 2 - each) for each, n in zip(at, sides)]
            yield (
                image[np.ix_(*at)],
                np.ones(2),
                -start,
                [ABOUT["margin"]] * 2,
                np.minimum(step + ABOUT["margin"], sides - start),
            )
        return
    size, window = SIZE, sides
    if ABOUT["resize"] == "letterbox":
        size = np.clip(np.round(sides * min(SIZE / sides)).astype(int), 1, SIZE)
    if ABOUT["resize"] == "crop":
        window = SIZE / (max(SIZE / sides) / ABOUT["crop_fraction"])
    start = np.clip(np.round((sides - window) / 2).astype(int), 0, sides - 1)
    end = np.clip(np.round((sides - window) / 2 + window).astype(int), start + 1, sides)
    part = resized(image[start[0] : end[0], start[1] : end[1]], size)
    scale = size / (end - start)
    yield part, scale.astype(np.float32), (-start * scale).astype(np.float32), [0, 0], size


def runs_of(mask, box, size):
    """Run lengths, down the columns, of where a mask [m, m] in its box exceeds .5 in a photograph of `size`."""
    inside, at, cells = np.zeros(size, bool), [], len(mask)
    for low, high, count in zip(box[1::-1], box[:1:-1], size):
        step = max(high - low, 1e-3) / cells
        if ABOUT["alignment"] == "torchvision":  # the grown box, cut to whole pixels
            first, last = (int((low + high) / 2 + half * (high - low) * (cells + 2) / cells) for half in (-0.5, 0.5))
            step = max(last - first + 1, 1) / (cells + 2)
            low = first + step
        at.append((np.arange(count) + 0.5 - low) / step + 0.5)
    rows, columns = (np.flatnonzero((each > 0) & (each < cells + 1)) for each in at)
    inside[np.ix_(rows, columns)] = bilinear(np.pad(mask, 1), at[0][rows], at[1][columns]) > 0.5
    edges = np.flatnonzero(np.diff(inside.T.ravel(), prepend=False, append=inside[-1, -1]))
    return {"size": list(size), "counts": np.diff(edges, prepend=0, append=inside.size).tolist()}


def read(file):
    """A photograph as uint8 [H, W, 3] RGB, upright; of 16 bits the upper eight."""
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, whose range is not known; save it with 8 bits")
    if image.mode.startswith("I;16"):
        return np.repeat((np.array(image).astype(np.uint16) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def predict(file, network, given, output):
    """One photograph's prediction, as JSON values; `output` is the folder for maps."""
    image = read(file)
    about = {"file": str(file), "width": image.shape[1], "height": image.shape[0]}
    labels = np.full(image.shape[:2], 255, np.uint8)
    for part, scale, offset, first, end in inputs(image):
        canvas = np.pad(part, [(0, SIZE[0] - part.shape[0]), (0, SIZE[1] - part.shape[1]), (0, 0)])
        found = network.call(given, canvas[None], np.array([part.shape[:2]], np.int32))
        found = {name: np.array(value[0]) for name, value in found.items()}
        if ABOUT["kind"] == "map":
            at = [(np.arange(n) + 0.5) * s + o for n, s, o in zip(labels.shape, scale, offset)]
            kept = [np.flatnonzero((p > low - 1e-3) & (p < high + 1e-3)) for p, low, high in zip(at, first, end)]
            at = [np.clip(p[k].astype(int), low, high - 1) for p, k, low, high in zip(at, kept, first, end)]
            labels[np.ix_(*kept)] = found["labels"][np.ix_(*at)]
        if "boxes" in found:
            boxes = (found["boxes"].astype(np.float64) - np.tile(offset[::-1], 2)) / np.tile(scale[::-1], 2)
            boxes = np.clip(boxes, 0, np.tile(image.shape[1::-1], 2)).astype(np.float32)
    names = ABOUT["classes"]
    if ABOUT["kind"] == "map":
        mask = f"{pathlib.Path(file).name}.mask.png"
        Image.fromarray(labels).save(output / mask)
        return about | {"mask": mask, "shares": {name: float(np.mean(labels == i)) for i, name in enumerate(names)}}
    if "valid" not in found:
        best = int(found["scores"].argmax())
        box = {"box": boxes.tolist()} if "boxes" in found else {}
        return about | {"class": names[best], "score": float(found["scores"][best]), **box}
    rows = np.flatnonzero(found["valid"])
    listed = [
        {"class": names[found["labels"][i]], "score": float(found["scores"][i]), "box": boxes[i].tolist()} for i in rows
    ]
    for i, each in zip(rows, listed) if "masks" in found else ():
        each["mask"] = runs_of(found["masks"][i], boxes[i], image.shape[:2])
    return about | {"detections": listed}


def main(output, *files):
    """Predicts and writes; returns the exit code, 1 where a photograph could not be read."""
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    try:
        network = jax.export.deserialize(bytearray((HERE / "predict.bin").read_bytes()))
        given = jax.device_put(parameters((HERE / "parameters.safetensors").read_bytes()))
        network.call(given, np.zeros((1, *SIZE, 3), np.uint8), np.array([SIZE], np.int32))
    except Exception as error:
        sys.exit(f"predict.bin is read by {ABOUT['readable_by']}; here is {jax.__version__}: {error}")
    found = []
    for file in files:
        try:
            found.append(predict(file, network, given, output))
        except Exception as error:  # the others are predicted
            found.append({"file": file, "error": str(error)})
            print(f"not predicted: {file}: {error}", file=sys.stderr)
    (output / "predictions.json").write_text(json.dumps(found, indent=1) + "\n")
    return int(any("error" in each for each in found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 2 and not sys.argv[1].startswith("-") else __doc__)
