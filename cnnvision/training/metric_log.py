"""What a run writes for people: `metrics.jsonl` and `tensorboard/`."""

import json
import math
from typing import Any

from etils import epath

from cnnvision.errors import RunError
from cnnvision.storage import is_remote, path_of, write_whole


class MetricLog:
    """Appends one JSON object a logged step: {"step", "split", metric: value, …}; NaN and infinities are null.

    A resumed run drops what was logged after the step that it resumes from, so the file has each (step, split) once, in
    order, whenever the run was killed. Local files are appended to; remote ones, which cannot be, are written whole.

    Args:
        workdir: the run folder.
        resumed_step: the step that the run goes on from, 0 for a new one.
        write: False on all processes but the first.
    """

    def __init__(self, workdir: epath.PathLike, resumed_step: int, write: bool = True):
        self.path = path_of(workdir) / "metrics.jsonl"
        self.write, self.remote = write, is_remote(workdir)
        before = _complete_lines(self.path) if resumed_step else []
        self.lines = [line for line in before if json.loads(line)["step"] <= resumed_step]
        self.tensorboard = None
        if write:
            write_whole(self.path, "".join(line + "\n" for line in self.lines))
            self.tensorboard = _tensorboard(path_of(workdir) / "tensorboard", resumed_step + 1)

    def add(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Logs the metrics of a split at a step, at once (nothing is buffered)."""
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps({"step": step, "split": split, **values})
        self.lines.append(line)
        if not self.write:
            return
        if self.remote:
            write_whole(self.path, "".join(line + "\n" for line in self.lines))
        else:
            with open(self.path, "a") as file:
                file.write(line + "\n")
        if self.tensorboard:
            for name, value in ((name, value) for name, value in metrics.items() if math.isfinite(value)):
                self.tensorboard.add_scalar(f"{split}/{name}", value, step)

    def all(self) -> list[dict[str, Any]]:
        """Every entry so far, in order."""
        return [json.loads(line) for line in self.lines]

    def last(self, split: str) -> dict[str, float]:
        """The metrics of the last entry of a split (null as NaN); empty where there is none."""
        found = [entry for entry in self.all() if entry["split"] == split]
        values = found[-1].items() if found else ()
        return {name: math.nan if value is None else value for name, value in values if name not in ("step", "split")}

    def close(self) -> None:
        """Ends TensorBoard's file."""
        if self.tensorboard:
            self.tensorboard.close()

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _EventsInBucket:
    """TensorBoard's file of a run in a bucket: written whole, where there is something new, at each flush."""

    def __init__(self, path: str):
        self.path, self.content, self.written = epath.Path(path), bytearray(), 0

    def write(self, content: bytes) -> None:
        """Adds to what the next flush writes."""
        self.content += content

    def flush(self) -> None:
        """Writes the file."""
        if len(self.content) > self.written:
            self.path.write_bytes(bytes(self.content))
            self.written = len(self.content)

    close = flush


class _EventFilesInBucket:
    """What tensorboardX asks of the maker of a scheme's files."""

    open = staticmethod(_EventsInBucket)

    def directory_check(self, path: str) -> None:
        """A bucket needs no folders."""


def _tensorboard(folder: epath.Path, first_step: int) -> Any:
    """The writer of a folder of events; those from `first_step` on that are there already are void."""
    import tensorboardX
    from tensorboardX.record_writer import register_writer_factory

    register_writer_factory("gs", _EventFilesInBucket())  # its own asks for another package, and for a project
    return tensorboardX.SummaryWriter(str(folder), purge_step=first_step, flush_secs=30)


def read_entries(workdir: epath.PathLike) -> list[dict[str, Any]]:
    """The entries of a run folder, without a last line that was cut off."""
    return [json.loads(line) for line in _complete_lines(path_of(workdir) / "metrics.jsonl")]


def _complete_lines(path: epath.Path) -> list[str]:
    """The lines of a log but for a last one that was cut off. Raises RunError for one that is no entry."""
    if not path.exists():
        return []
    lines = path.read_bytes().decode(errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            whole = isinstance(json.loads(line)["step"], int)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise RunError(f"{path}, line {number}: this is no entry of a run's log ({line[:40]!r}). Delete the line.")
    return lines
