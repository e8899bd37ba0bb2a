"""Scripts and manifests from the templates beside this file; every value is quoted, whatever stands in it."""

import pathlib
import shlex
import string
from collections.abc import Mapping, Sequence

from .request import Request

TEMPLATES = pathlib.Path(__file__).parent / "templates"

GRACE = 60
"""Seconds from SIGTERM to SIGKILL; a run needs up to 30 to stop at an agreed step and to save."""
RESTARTS = 10
"""Starts after failures that nobody asked for, on GKE."""
XPK_RESTARTS = 100
"""The same where those after a stop count, too."""

_SCRIPTS = ("watch.sh", "stop.sh")
"""That each route has whole in its folder."""

Value = str | int | Sequence[str] | Sequence[Mapping[str, str]]


class Template(string.Template):
    """Text with places named @{like_this}: shell scripts have dollars of their own."""

    delimiter = "@"


def in_shell(value: Value) -> str:
    """A value as words of a shell: a string is one word, a sequence as many as it has."""
    return shlex.quote(str(value)) if isinstance(value, str | int) else shlex.join(value)


def in_yaml(value: Value) -> str:
    """A value in YAML's flow style: numbers plain, strings in double quotes with all but letters of ASCII escaped."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        plain = lambda letter: letter.isascii() and letter.isprintable() and letter not in '"\\'
        return '"' + "".join(letter if plain(letter) else f"\\U{ord(letter):08x}" for letter in value) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_yaml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(in_yaml, value)) + "]"


def render(parts: Sequence[str], values: Mapping[str, Value]) -> str:
    """Templates, one after the other, with their values, quoted as the ending of the first asks for.

    Args:
        parts: paths below `TEMPLATES`.
        values: name -> value; one that is no word at all goes with the space in front of it.
    """
    quote = in_yaml if parts[0].endswith(".yaml") else in_shell
    text = "".join((TEMPLATES / part).read_text() for part in parts)
    quoted = {name: quote(values[name]) for name in Template(text).get_identifiers()}
    for name in (name for name, words in quoted.items() if not words):
        text = text.replace(f" @{{{name}}}", "")
    return Template(text).substitute(quoted)


def files_of(asked: Request) -> dict[str, str]:
    """Name -> text of all files for a request."""
    values = {**_common(asked), **_OF_ROUTE[asked.route](asked)}
    return {name: render(parts, values) for name, parts in _parts(asked).items()}


def _parts(asked: Request) -> dict[str, list[str]]:
    """Name of a file -> the templates that it is made of."""
    route, policy = asked.route.replace("-", "_"), _has_policy(asked)
    create, delete = [f"{route}/create.sh"], [f"{route}/delete.sh"]
    login = ["login.sh"] if asked.image.split("/")[0].endswith(("docker.pkg.dev", "gcr.io")) else []
    host = ["host.sh", *login, "container.sh"]
    others = {}
    if asked.route in ("gce", "gke"):
        create += [*(["policy.sh"] if policy else []), "gce/group.sh" if asked.route == "gce" else "gke/cluster.sh"]
        delete += ["policy_delete.sh"] if policy else []
    if asked.route == "gce":
        others["host.sh"] = [*host, "gce/turn_off.sh"]
    if asked.route == "tpu-vm":
        others["host.sh"] = host
    else:
        delete += ["left.sh"]
    if asked.route == "gke":
        others["jobset.yaml"] = ["gke/jobset.yaml"]
        if asked.spot:
            others["node.yaml"] = ["gke/node.yaml"]
    return {"create.sh": create, **others, **{name: [f"{route}/{name}"] for name in _SCRIPTS}, "delete.sh": delete}


def _has_policy(asked: Request) -> bool:
    """Whether a policy of its own says how the hosts are wired; node pools of earlier generations than TPU7x need none."""
    return asked.slice.hosts > 1 and (asked.route == "gce" or asked.slice.generation.accelerator == "tpu7x")


def _common(asked: Request) -> dict[str, Value]:
    fields = ("project", "zone", "region", "name", "image", "account")
    return {
        **{field: getattr(asked, field) for field in fields},
        "topology": asked.slice.topology,
        "machine": asked.slice.machine,
        "type": asked.slice.type,
        "hosts": asked.slice.hosts,
        "grace": GRACE,
        "registry": asked.image.split("/")[0],
        "command": asked.command,
        "environment": [f"--env=TFDS_DATA_DIR={asked.tfds}"] if asked.tfds else [],
        "spot": ["--spot"] if asked.spot else [],
        "left": f"labels.goog-k8s-cluster-name={asked.name}" if asked.route in ("gke", "xpk") else f"name~^{asked.name}",
        "first": f"jobset.sigs.k8s.io/jobset-name={asked.name},batch.kubernetes.io/job-completion-index=0",
    }


def _gce(asked: Request) -> dict[str, Value]:
    disk = asked.slice.generation.disk
    policy = f"projects/{asked.project}/regions/{asked.region}/resourcePolicies/{asked.name}"
    log = f"projects/{asked.project}/logs/gcplogs-docker-driver"
    return {
        "family": asked.slice.generation.family,
        "disk": [f"--boot-disk-type={disk}"] if disk else [],
        "spot": ["--provisioning-model=SPOT", "--instance-termination-action=STOP"] if asked.spot else [],
        # A group of wired hosts is made as a whole or not at all; its policy must be given by its whole path.
        "together": ["--target-size-policy-mode=bulk", f"--workload-policy={policy}"] if _has_policy(asked) else [],
        "filter": f'logName="{log}" AND jsonPayload.container.name="/{asked.name}"',
    }


def _gke(asked: Request) -> dict[str, Value]:
    several, generation = asked.slice.hosts > 1, asked.slice.generation
    return {
        "pool": "hosts",
        # GKE refuses a topology for a single host.
        "together": [
            *([f"--tpu-topology={asked.slice.topology}"] if several else []),
            *([f"--placement-policy={asked.name}"] if _has_policy(asked) else []),
        ],
        "disk": [f"--disk-type={generation.disk}"] if generation.disk else [],
        "spot": ["--spot", "--system-config-from-file=node.yaml"] if asked.spot else [],
        "all": GRACE + 15,
        "restarts": RESTARTS,
        "accelerator": generation.accelerator,
        "chips": asked.slice.chips // asked.slice.hosts,
        "arguments": [_in_kubernetes(word) for word in asked.command],
        "variables": [{"name": "TFDS_DATA_DIR", "value": asked.tfds}] if asked.tfds else [],
        "selector": f"jobset.sigs.k8s.io/jobset-name={asked.name}",
    }


def _xpk(asked: Request) -> dict[str, Value]:
    return {
        "nodes": f"--service-account={asked.account}",
        "capacity": ["--spot"] if asked.spot else ["--on-demand"],
        "restarts": XPK_RESTARTS,
        # xpk writes it into a script of Bash, which sends SIGTERM to what it started, and the script into a manifest.
        "line": _in_kubernetes(shlex.join(["exec", "python", "-m", *asked.command])),
    }


def _tpu_vm(asked: Request) -> dict[str, Value]:
    return {
        "target": f"{asked.name}:host.sh",
        "logs": f"sudo docker logs --follow --tail=200 {asked.name}",
        "stop": f"sudo docker stop {asked.name}",
    }


_OF_ROUTE = {"gce": _gce, "gke": _gke, "xpk": _xpk, "tpu-vm": _tpu_vm}


def _in_kubernetes(word: str) -> str:
    """Of two dollars Kubernetes keeps one, and takes $(NAME) for a variable (kubernetes.io, Container.args)."""
    return word.replace("$", "$$")
