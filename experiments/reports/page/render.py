"""Puts a page together: gathers what stands in it, and fills the template."""

import base64
import hashlib
import itertools
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

import cnnvision
from cnnvision.errors import CnnvisionError
from cnnvision.runs.configuration import differences
from cnnvision.storage import write_whole

from . import plots, repeat, tables
from .subject import Subject, open_subject

TEMPLATES = pathlib.Path(__file__).parent / "templates"
MOST_KEYS = 60
"""Rows of a table of keys of the config."""


def write(folder: epath.PathLike, output: epath.PathLike | None = None, say: Callable[[str], None] = print) -> epath.Path:
    """Writes the page of a run folder, a grid or a ladder; returns where.

    Args:
        folder: what is shown.
        output: the file; report.html in the folder by default.
        say: prints a line.

    Raises:
        RunError: the folder holds no run, nothing has begun, or a file cannot be read.
    """
    subject = open_subject(folder)
    found = tables.evaluate(subject)
    pictures, problem = _gallery(subject, found, say)
    path = epath.Path(output) if output else subject.folder / "report.html"
    page = rendered(context(subject, found, pictures, problem))
    write_whole(path, page)
    say(f"Written: {path} ({len(page.encode()) / 1e6:.1f} MB)")
    return path


def _gallery(subject: Subject, found: tables.Evaluated | None, say: Callable[[str], None]) -> tuple[Any, str]:
    """What the gallery shows, or why it shows nothing: numbers are worth a page without the data."""
    if found is None:
        return None, ""
    from .gallery import gallery

    try:
        return gallery(found, {name: run.folder for name, run in subject.shown.items()}), ""
    except CnnvisionError as error:
        say(f"The page has no images: {error}")
        return None, str(error)


def context(subject: Subject, found: tables.Evaluated | None, pictures: Any = None, problem: str = "") -> dict[str, Any]:
    """What the template is filled with; no value is HTML but the plots' `svg`."""
    variants, content = subject.variants, next((run.content for run in subject.runs if run.content), {})
    about = next(iter(found.about.values())) if found else {}
    classes = content.get("data", {}).get("classes", ())
    contributions = found.contributions if found else {}
    matches = {name: each.matches["AP"] for name, each in contributions.items() if "AP" in each.matches}
    named = next(iter(found.contributions.values())).classes if found else ()
    costs = tables.costs(subject)
    return {
        "title": subject.folder.absolute().name,
        "subject": subject,
        "variants": variants,
        "seeds": sorted({run.seed for run in subject.runs}),
        "counts": {state: [run.state for run in subject.runs].count(state) for state in STATES},
        "facts": _facts(content, about, found),
        "repeat": _repeat(subject),
        "keys": _keys(subject),
        "judged": found.judged if found else None,
        "results": tables.results(found, variants) if found else [],
        "classes": tables.of_classes(found) if found else [],
        "confusions": tables.confusions(found, classes) if found else [],
        "errors": tables.errors(found) if found else None,
        "costs": _with_parameters(costs, pictures),
        "cost_plot": _cost_plot(costs, found, variants),
        "curves": plots.curves(subject.runs, variants, found.compared if found else ()),
        "precision_recall": plots.precision_recall(matches, named) if matches else [],
        "gallery": pictures,
        "problem": problem,
        "version": cnnvision.__version__,
        "made": time.strftime("%Y-%m-%d %H:%M"),
    }


STATES = ("finished", "running", "failed", "waiting")


def _facts(content: Mapping[str, Any], about: Mapping[str, Any], found: tables.Evaluated | None) -> list[tuple[str, str]]:
    """(what, value) of the data and of what made the runs."""
    if not content:
        return []
    data, devices = content["config"]["data"], content.get("devices", ())
    of_maps = found is not None and any(each.confusion is not None for each in found.contributions.values())
    names = content["data"]["semantic_classes" if of_maps else "classes"]
    images = f", {found.judged.images} images" if found else ""
    evaluated = f"{about.get('data', data.get('source'))} {about.get('split', data.get('eval_split'))}{images}"
    facts = [("trained on", f"{data.get('source')} {data.get('train_split')}"), ("evaluated on", evaluated)]
    facts += [("classes", f"{len(names)}: {', '.join(names[:20])}{' …' if len(names) > 20 else ''}")]
    facts += [("devices", " × ".join(map(str, devices)))] if devices else []
    return [*facts, ("versions", ", ".join(f"{name} {version}" for name, version in content["versions"].items()))]


def _repeat(subject: Subject) -> list[dict[str, Any]]:
    """Of what each config is a change, how it differs, and the command that makes it: of a grid once, else of each run."""
    of = {"": subject.base} if subject.kind == "grid" else subject.configs
    found = []
    for name, config in of.items():
        argument, changed = repeat.nearest_config(config)
        folder = next((run.folder for run in subject.runs if run.variant == name), subject.folder)
        command = repeat.command_of(argument, changed, config, folder) if argument and not subject.what else ""
        found.append({"name": name, "argument": argument, "changed": changed[:MOST_KEYS], "command": command})
    return found


def _keys(subject: Subject) -> list[tuple[str, list[str]]]:
    """Of a grid each key that its variants differ in, with the value that each has."""
    if subject.kind != "grid":
        return []
    configs = [subject.configs[name] for name in subject.variants if name in subject.configs]
    keys = sorted({key for a, b in itertools.pairwise(configs) for key, *_ in differences(a, b)})
    return [(key, [_value(config, key) for config in configs]) for key in keys[:MOST_KEYS]]


def _value(config: Any, key: str) -> str:
    for name in key.split(".")[1:]:
        config = config.get(name) if isinstance(config, Mapping) else None
    return "–" if config is None else str(config)


def _with_parameters(costs: dict[str, Any] | None, pictures: Any) -> dict[str, Any] | None:
    """The costs, with the parameters of the networks that were loaded."""
    if costs and pictures and "parameters" not in costs["columns"]:
        count = {each["name"]: float(each["parameters"]) for each in pictures["variants"]}
        for row in costs["rows"]:
            row["values"] = [count.get(row["variant"], math.nan), *row["values"]]
        costs["columns"] = ["parameters", *costs["columns"]]
    return costs


def _cost_plot(costs: Any, found: tables.Evaluated | None, variants: Sequence[str]) -> plots.Plot | None:
    """The most important metric over the last of the costs; None where there are not two variants to compare."""
    if not costs or not found or len(costs["rows"]) < 2:
        return None
    metric, rows = found.compared[0], {row["variant"]: row for row in found.rows}
    points = []
    for row in costs["rows"]:
        name, cost = row["variant"], row["values"][-1]
        if name in rows and not math.isnan(cost + rows[name][metric]):
            values = (rows[name][key] for key in (metric, f"{metric}_low", f"{metric}_high"))
            points.append((variants.index(name), name, cost, *values))
    return plots.cost(points, costs["columns"][-1], metric) if len(points) > 1 else None


def rendered(values: Mapping[str, Any]) -> str:
    """The page's HTML. All values are escaped but the plots, of which matplotlib escapes the text."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = lambda value, form=".3f": Markup(number(value, form))
    environment.globals.update(glyph=lambda k: plots.GLYPHS[k % len(plots.GLYPHS)], colour=lambda k: k % plots.COLOURS)
    environment.tests["nan"] = lambda value: value is None or (isinstance(value, float) and math.isnan(value))
    style, script = ((TEMPLATES / f"page.{kind}").read_text() for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html")
    own = {"style": Markup(style), "script": Markup(script), "digest": digest, "safe": Markup}
    return page.render(**values, **own)


def number(value: float | None, form: str = ".3f") -> str:
    """A number as HTML: rounded for the reader, whole for programs. Nothing but numbers gets through."""
    if value is None or math.isnan(float(value)):
        return "–"
    return f'<data value="{float(value)!r}">{float(value):z{form}}</data>'
