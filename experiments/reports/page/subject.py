"""What a page is about: the runs of a folder, and how far each has come."""

import csv
import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from etils import epath

from cnnvision.errors import RunError
from cnnvision.installation import typed
from cnnvision.runs import config_json, grid
from cnnvision.storage import path_of
from cnnvision.training.evaluate import CONTRIBUTIONS
from cnnvision.training.metric_log import read_entries

LADDER = "ladder.csv"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        variant: its name on the page.
        seed: its `config.training.seed`.
        folder: where it lies.
        content: of its config.json; {} where it has not begun.
        entries: of its metrics.jsonl.
        finished: whether it is trained and evaluated to its last step.
        failure: why it could not be trained; "" where it could.
    """

    variant: str
    seed: int
    folder: epath.Path
    content: Mapping[str, Any]
    entries: Sequence[Mapping[str, Any]]
    finished: bool
    failure: str = ""

    @property
    def state(self) -> Literal["finished", "failed", "running", "waiting"]:
        """A run that stopped on its way counts as running: nothing in its folder tells."""
        if self.finished:
            return "finished"
        return "failed" if self.failure else "running" if self.entries or self.content else "waiting"

    @property
    def step(self) -> int:
        """The last one that was logged."""
        return max((entry["step"] for entry in self.entries), default=0)

    @property
    def steps(self) -> int | None:
        """How many there are to be; None where it has not begun."""
        return self.content["config"]["training"].get("steps") if self.content else None

    @property
    def logged(self) -> str:
        """When it last logged something; "" for never."""
        if not self.entries:
            return ""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime((self.folder / "metrics.jsonl").stat().mtime))


@dataclasses.dataclass(frozen=True)
class Subject:
    """A folder that a page shows.

    Attributes:
        folder: of all.
        kind: "run", "grid" of variants of one config, or "ladder": systems that have a config each.
        what: the command that makes it; "" where that is not written down.
        base: a grid's config that its variants change, as JSON; {} elsewhere.
        configs: variant -> its config as JSON; only of those that are known.
        runs: the first seed of each variant first.
        costs: variant -> its row of ladder.csv; {} where there is none.
    """

    folder: epath.Path
    kind: Literal["run", "grid", "ladder"]
    what: str
    base: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    runs: Sequence[Run]
    costs: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def variants(self) -> list[str]:
        """By name, in order."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    @property
    def wanted(self) -> list[int]:
        """Seeds that are compared: all; while runs are still to come those that each variant has finished, if there are."""
        if not any(run.state in ("running", "waiting") for run in self.runs):
            return sorted({run.seed for run in self.runs})
        finished = [{run.seed for run in self.runs if run.variant == name and run.finished} for name in self.variants]
        return sorted(set.intersection(*finished) or set.union(*finished))

    @property
    def judged(self) -> dict[str, dict[int, Run]]:
        """variant -> seed -> the runs whose numbers are compared: the finished ones; of a single run the last evaluation."""
        found: dict[str, dict[int, Run]] = {}
        for run in self.runs:
            alone = self.kind == "run" and (run.folder / CONTRIBUTIONS).exists()
            if alone or (run.finished and (not self.what or run.seed in self.wanted)):
                found.setdefault(run.variant, {})[run.seed] = run
        return found

    @property
    def shown(self) -> dict[str, Run]:
        """variant -> the run whose predictions are shown: that of the first seed that is there."""
        return {name: of_seeds[min(of_seeds)] for name, of_seeds in self.judged.items()}

    @property
    def missing(self) -> list[str]:
        """A line for each run that is not finished."""
        tell = {"failed": "failed", "running": "is not finished", "waiting": "has not begun"}
        return [
            f"{run.variant}, seed {run.seed}: {tell[run.state]}" + (f" ({run.failure})" if run.failure else "")
            for run in self.runs
            if run.state != "finished"
        ]


def open_subject(folder: epath.PathLike) -> Subject:
    """Looks what a folder holds.

    Raises:
        RunError: it holds no run, nothing of it has begun, or a file cannot be read.
    """
    folder = path_of(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder: give that of a run, a grid or a ladder. {_cure()}")
    if (folder / grid.GRID).exists():
        subject = _grid(folder)
    elif (folder / "config.json").exists():
        run = _run(folder.absolute().name, folder)
        subject = Subject(folder, "run", "", {}, {run.variant: run.content["config"]}, [run])
    else:
        subject = _ladder(folder)
    if not any(run.entries for run in subject.runs):
        again = f"`{subject.what}` goes on" if subject.what else "the command that began it goes on"
        failed = next((f" ({run.variant} failed: {run.failure})" for run in subject.runs if run.failure), "")
        raise RunError(f"{folder}: nothing is logged yet, so there is nothing to show{failed}. Wait, or {again}.")
    return subject


def _cure() -> str:
    return f"`{typed('train')}`, `{typed('ablate')}` and `{typed('ladder')}` make one."


def _run(variant: str, folder: epath.Path, seed: int = 0) -> Run:
    """Reads a run folder; one that is not there yet has not begun."""
    content = config_json.read(folder) if (folder / "config.json").exists() else {}
    seed = content["config"]["training"].get("seed", seed) if content else seed
    return Run(variant, seed, folder, content, read_entries(folder), grid.finished(folder), grid.failure(folder))


def _grid(folder: epath.Path) -> Subject:
    content = grid.read(folder)
    try:
        cells = [(str(cell["variant"]), int(cell["seed"]), str(cell["folder"])) for cell in content["cells"]]
        named = all(re.fullmatch(r"[^/\\]+", name) and name not in (".", "..") for *_, name in cells)
    except (KeyError, TypeError, ValueError):
        cells, named = [], False
    if not cells or not named or not all(isinstance(content["variants"].get(name), dict) for name, *_ in cells):
        cure = "delete it; the command that made the grid writes it again"
        raise RunError(f"{folder / grid.GRID} cannot be read: its cells are no runs of its variants: {cure}")
    runs = [_run(variant, folder / name, seed) for variant, seed, name in cells]
    kind = "grid" if content["base"] else "ladder"
    return Subject(folder, kind, content["what"], content["base"], content["variants"], runs, _rows(folder / LADDER))


def _ladder(folder: epath.Path) -> Subject:
    folders = sorted(each for each in folder.iterdir() if each.is_dir() and (each / "config.json").exists())
    if not folders:
        raise RunError(f"{folder} holds no run: neither {grid.GRID} nor config.json, nor folders with one. {_cure()}")
    rows = _rows(folder / LADDER)
    names = {grid.folder_of(name): name for name in rows}
    order = {name: place for place, name in enumerate(rows)}
    runs = [_run(names.get(each.name, each.name), each) for each in folders]
    runs.sort(key=lambda run: order.get(run.variant, len(order)))
    return Subject(folder, "ladder", "", {}, {run.variant: run.content["config"] for run in runs}, runs, rows)


def _rows(file: epath.Path) -> dict[str, dict[str, str]]:
    """The rows of a ladder's CSV by what stands in the first column; {} where there is no file."""
    if not file.exists():
        return {}
    try:
        return {next(iter(row.values())): row for row in csv.DictReader(file.read_text().splitlines(), strict=True)}
    except (UnicodeDecodeError, csv.Error, StopIteration) as error:
        raise RunError(f"{file} cannot be read ({error}): delete it; `{typed('ladder')}` writes it again") from error
