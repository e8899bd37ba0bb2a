"""The same picture twice, within a split or in two of them."""

from cnnvision.data.faults import Findings
from cnnvision.data.inspection import Seen
from cnnvision.types import Example


def report_twins(seen: dict[str, list[Seen]], findings: Findings) -> None:
    """Reports pictures that agree in every pixel."""
    first: dict[bytes, list[tuple[str, Example]]] = {}
    for split, of_split in seen.items():
        for example, digest in ((s.example, s.digest) for s in of_split if s.example is not None):
            twins = first.setdefault(digest, [])
            twin = next((t for t in twins if t[0] == split), None) or next(
                (t for t in twins if not _is_union(t[0], split)), None
            )
            if twin:
                _report_twin(split, example, *twin, findings)
            if not any(t[0] == split for t in twins):
                twins.append((split, example))


def _is_union(one: str, other: str) -> bool:
    """Whether one split is made of the other and a third by its name, as trainval is of train and val."""
    part, whole = sorted((one, other), key=len)
    return part in whole and whole.replace(part, "", 1) in ("train", "val", "test")


def _report_twin(split: str, example: Example, other_split: str, other: Example, findings: Findings) -> None:
    differs = " with another class" if example.label != other.label else ""
    if split == other_split:
        message = f"the picture is the same as {other.id}{differs}, in every pixel"
        cure = "Delete one of them."
    else:
        message = f"the picture is also in {other_split}, as {other.id}{differs}, the same in every pixel"
        cure = "Delete it from one of the splits: metrics on what was trained on say nothing."
    findings.add(example.id, message, cure, "kept", f"split {split}")
