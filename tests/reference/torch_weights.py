"""State dicts drawn from a seed, by the rules that the files of `tests/goldens` name."""

import hashlib
import json
import pathlib
import re

import numpy as np

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"


def load_golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(state dict: torch's key -> array; what the golden file holds beside the statistics: input, logits ...)."""
    description = json.loads((GOLDENS / f"{name}.json").read_text())
    with np.load(GOLDENS / f"{name}.npz") as stored:
        arrays = dict(stored)
    state = {
        key: draw(key, tuple(shape), description["seed"], description["rules"], arrays)
        for key, shape in description["state_dict"].items()
    }
    return state, {key: array for key, array in arrays.items() if not key.startswith("stat/")}


def draw(
    key: str, shape: tuple[int, ...], seed: int, rules: list[tuple[str, str, float]], stored: dict[str, np.ndarray]
) -> np.ndarray:
    """The array of one key: the first rule whose pattern occurs in the key says how it is made.

    Kinds: "stored", in `stored` as stat/KEY; "zeros"; "constant", the factor; and from n, standard normal float32 of a
    generator of the key's own: "normal", factor · n; "around_one", factor · (1 + 0.1 · n); "fan_in", n times the factor and
    √(2 / inputs of one output); "weight", "around_one" for vectors and "fan_in" for all else.
    """
    kind, factor = next((kind, factor) for pattern, kind, factor in rules if re.search(pattern, key))
    if kind == "stored":
        return stored[f"stat/{key}"]
    if kind == "zeros":
        return np.zeros(shape, np.float32)
    if kind == "constant":
        return np.full(shape, factor, np.float32)
    if kind == "weight":
        kind = "around_one" if len(shape) == 1 else "fan_in"
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    normal = generator.standard_normal(shape, np.float32)
    if kind == "around_one":
        normal = np.float32(1) + np.float32(0.1) * normal
    elif kind == "fan_in":
        normal *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return np.float32(factor) * normal
