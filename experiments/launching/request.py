"""What is to be launched, checked before a script is written: names that Google Cloud takes, a batch that chips share."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from cnnvision.errors import ConfigError
from cnnvision.installation import CONFIGS
from cnnvision.settings import check_name

from .tpus import Slice, slice_of

ROUTES = ("gce", "gke", "xpk", "tpu-vm")

NAME = (r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "1 to 40 letters a-z, digits and -, with a letter in front and no - at the end")
PROJECT = (r"[a-z][-a-z0-9]{4,28}[a-z0-9]", "a project's ID (not its name): 6 to 30 letters a-z, digits and -")
ZONE = (r"[a-z]+-[a-z]+\d+-[a-z]+\d*[a-z]?", "a zone, a region and a letter, for example us-central1-b")
IMAGE = (
    r"[a-z0-9][-a-z0-9.:]*(/[a-z0-9][-a-z0-9._]*)+(:[\w.-]{1,128})?(@sha256:[0-9a-f]{64})?",
    "REGISTRY/PATH:TAG, without capitals",
)
PREPARED = (r"gs://[a-z0-9][-a-z0-9_.]{1,61}[a-z0-9]/[-\w./=]+", "a folder in a bucket, of letters, digits and -_./=")
FOLDER = (r"gs://[a-z0-9][-a-z0-9_.]{1,61}[a-z0-9]/\S(.*\S)?", "a folder in a bucket, gs://BUCKET/FOLDER")
"""(pattern, what it means). docs.cloud.google.com: compute/docs/naming-resources, storage/docs/buckets#naming,
resource-manager/docs/creating-managing-projects; names have the 40 letters at most of GKE's clusters and xpk's workloads."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be launched.

    Attributes:
        route: one of `ROUTES`.
        slice: the chips.
        project, zone, name, image: as Google Cloud names them.
        command: what each host's container is given: a module of Python, and its flags.
        spot: whether the cheaper hosts are asked for, that may be taken away.
        tfds: folder of prepared data sets in a bucket, or "".
    """

    route: str
    slice: Slice
    project: str
    zone: str
    name: str
    image: str
    command: tuple[str, ...]
    spot: bool
    tfds: str

    @property
    def region(self) -> str:
        """The zone's."""
        return region_of(self.zone)

    @property
    def account(self) -> str:
        """The service account that the hosts run as (docs/cloud.md makes it)."""
        return f"cnnvision@{self.project}.iam.gserviceaccount.com"


def region_of(zone: str) -> str:
    """ "us-central1-b" -> "us-central1"."""
    return zone.rpartition("-")[0]


def request(
    route: str,
    topology: str,
    config: str,
    workdir: str,
    project: str,
    zone: str,
    overrides: Sequence[tuple[str, str]] = (),
    image: str | None = None,
    name: str | None = None,
    spot: bool = False,
    tfds: str | None = None,
) -> Request:
    """Checks what is asked for.

    Args:
        route: "gce", "gke", "xpk" or "tpu-vm".
        topology: a generation and the sides of its chips, for example "v6e:4x4".
        config: as `train` takes it.
        workdir: the run folder, in a bucket.
        project, zone: where the hosts are made.
        overrides: (dotted key without "config.", value).
        image: of the container; what docs/cloud.md pushes by default.
        name: of all that is made; the config's by default.
        spot: whether to ask for hosts that cost less and may be taken away.
        tfds: the folder of prepared data sets in a bucket, for data named tfds:NAME.

    Raises:
        ConfigError: a value that Google Cloud, the hosts or the run could not use.
    """
    from cnnvision.runs.configuration import find_config, load_config, split_variant

    check_name("--route", route, ROUTES)
    chips = slice_of(topology, route)
    settings = load_config(config, overrides)
    path, variant = split_variant(config)
    file = find_config(path)
    if file.resolve().parent != CONFIGS.resolve():
        raise ConfigError(f"--config={config}: hosts have the files of {CONFIGS} in their image; put it there")
    _check("--workdir", workdir, FOLDER)
    _check("--project", project, PROJECT)
    _check("--zone", zone, ZONE)
    name = name if name is not None else re.sub("[^a-z0-9]+", "-", file.stem.lower())[:40].strip("-")
    _check("--name", name, NAME)
    image = image or f"{region_of(zone)}-docker.pkg.dev/{project}/cnnvision/tpu:latest"
    _check("--image", image, IMAGE)
    if tfds is not None:
        _check("--tfds", tfds, PREPARED)
    check_run(settings, chips, tfds)
    command = (
        "experiments.train",
        f"--config=configs/{file.name}{f':{variant}' if variant else ''}",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in overrides),
        *(["--distributed"] if chips.hosts > 1 else []),
    )
    if route == "xpk" and any(not word.isprintable() for word in command):
        raise ConfigError("--route=xpk: xpk takes a command of one line; a value has a line break, --route=gke takes it")
    return Request(route, chips, project, zone, name, image, command, spot, tfds or "")


def check_run(config: Any, chips: Slice, tfds: str | None) -> None:
    """Raises ConfigError where the hosts could not run a config: what `train` refuses; data and weights of this machine."""
    from cnnvision.models import make_task
    from cnnvision.runs.join import check_config, check_size
    from cnnvision.task import DataInfo

    check_config(config, chips.devices)
    names = ("a", "b", "c")  # what is checked does not depend on the classes
    check_size(make_task(config, DataInfo(names, names)), config)
    kind, _, rest = config.data.source.partition(":")
    if kind == "tfds" and tfds is None:
        raise ConfigError(
            f"config.data.source is {kind}:{rest}: say where in a bucket it lies prepared: --tfds=gs://BUCKET/FOLDER"
        )
    if kind not in ("tfds", "shapes") and not rest.startswith("gs://"):
        raise ConfigError(
            f"config.data.source is {config.data.source}, which the hosts do not have; copy it to a bucket and give "
            f"--config.data.source={kind}:gs://BUCKET/FOLDER"
        )
    weights = config.model.get("pretrained")
    if isinstance(weights, str) and weights not in ("", "imagenet") and not weights.startswith("gs://"):
        raise ConfigError(
            f"config.model.pretrained is {weights}, which the hosts do not have; copy it to a bucket and give "
            "--config.model.pretrained=gs://BUCKET/FILE"
        )


def _check(flag: str, value: str, form: tuple[str, str]) -> None:
    pattern, meaning = form
    if not re.fullmatch(pattern, value):
        raise ConfigError(f"{flag}={value}: this must be {meaning}")
