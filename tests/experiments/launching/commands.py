"""The commands of scripts as Bash gives them, with programs that only note what they were given; and the flags they take."""

import os
import subprocess

from experiments import launch

CONFIG = "configs/faster_rcnn_coco.py"
DATA = (("data.source", "coco:gs://bucket/coco"), ("model.pretrained", "gs://bucket/resnet50.pth"))
PLACE = {"project": "some-project", "zone": "us-central1-b", "workdir": "gs://bucket/run"}
WIDE = {"--project", "--quiet", "--format", "--filter"}  # docs.cloud.google.com/sdk/gcloud/reference
VM = {"--zone", "--worker", "--command"}
XPK = {"--cluster", "--project", "--zone"}
FLAGS = {
    # docs.cloud.google.com/sdk/gcloud/reference/compute/…
    "gcloud compute resource-policies create workload-policy": {"--region", "--type", "--accelerator-topology"},
    "gcloud compute resource-policies delete": {"--region"},
    "gcloud compute instance-templates create": {
        "--machine-type", "--image-project", "--image-family", "--boot-disk-size", "--boot-disk-type", "--scopes",
        "--maintenance-policy", "--service-account", "--metadata-from-file", "--provisioning-model",
        "--instance-termination-action",
    },
    "gcloud compute instance-templates delete": set(),
    # docs.cloud.google.com/compute/docs/tpus/create-tpu-mig-multi-host-slice
    "gcloud compute instance-groups managed create": {
        "--zone", "--template", "--size", "--default-action-on-vm-failure", "--target-size-policy-mode", "--workload-policy",
    },
    "gcloud compute instance-groups managed resize": {"--zone", "--size"},
    "gcloud compute instance-groups managed delete": {"--zone"},
    "gcloud compute instance-groups managed list-instances": {"--zone"},
    "gcloud compute instances list": set(),
    "gcloud logging read": {"--freshness", "--limit"},
    # …/compute/tpus/tpu-vm/create and beside it
    "gcloud compute tpus tpu-vm create": {"--zone", "--accelerator-type", "--version", "--service-account", "--spot"},
    "gcloud compute tpus tpu-vm scp": VM,
    "gcloud compute tpus tpu-vm ssh": VM,
    "gcloud compute tpus tpu-vm describe": VM,
    "gcloud compute tpus tpu-vm delete": VM,
    "gcloud compute tpus tpu-vm list": VM,
    # …/container/clusters/create, …/container/node-pools/create
    "gcloud container clusters create": {
        "--location", "--release-channel", "--num-nodes", "--machine-type", "--service-account",
    },
    "gcloud container node-pools create": {
        "--location", "--cluster", "--machine-type", "--num-nodes", "--tpu-topology", "--placement-policy", "--disk-size",
        "--disk-type", "--spot", "--system-config-from-file", "--service-account", "--scopes",
    },
    "gcloud container clusters get-credentials": {"--location"},
    "gcloud container clusters delete": {"--location"},
    # kubernetes.io/docs/reference/kubectl
    "kubectl apply": {"--server-side", "--filename"},
    "kubectl rollout status": {"--namespace", "--timeout"},
    "kubectl get": {"--selector", "--output"},
    "kubectl logs": {"--selector", "--follow", "--tail"},
    "kubectl delete": set(),
    # AI-Hypercomputer/xpk 1.16.0: src/xpk/parser/cluster.py, workload.py, common.py
    "xpk cluster create": {
        *XPK, "--tpu-type", "--num-slices", "--default-pool-cpu-num-nodes", "--custom-nodepool-arguments", "--spot",
        "--on-demand",
    },
    "xpk cluster delete": {*XPK, "--force"},
    "xpk workload create": {
        *XPK, "--workload", "--tpu-type", "--num-slices", "--docker-image", "--env", "--max-restarts", "--command",
        "--restart-on-exit-codes", "--termination-grace-period-seconds",
    },
    "xpk workload delete": {*XPK, "--workload"},
    "xpk workload list": XPK,
    # docs.docker.com/reference/cli/docker
    "docker login": {"--username", "--password-stdin"},
    "docker pull": set(),
    "docker stop": set(),
    "docker rm": set(),
    "docker run": {
        "--detach", "--name", "--restart", "--stop-timeout", "--privileged", "--network", "--ipc", "--ulimit",
        "--log-driver", "--volume", "--env",
    },
}  # fmt: skip
"""Command -> flags that it takes, of those that are used; gcloud's have `WIDE`, too."""

NOTES = """#!/bin/bash
printf '%s\\0' "$#" "${0##*/}" "$@" >> "$CALLS"
[ -p /dev/stdin ] && cat > /dev/null
echo '{"access_token": "token"}'
"""


def files(route, topology, overrides=(), config=CONFIG, **others):
    return launch.run(route=route, topology=topology, config=config, **{**PLACE, **others}, overrides=[*DATA, *overrides])


def calls_of(script, folder):
    """The commands that a script gives, as lists of words."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    for name in ("gcloud", "kubectl", "xpk", "docker", "curl", "systemd-run", "apt-get", "python"):
        (stubs / name).write_text(NOTES)
        (stubs / name).chmod(0o755)
    notes = folder / "calls"
    notes.write_bytes(b"")
    environment = {"PATH": f"{stubs}:{os.environ['PATH']}", "CALLS": str(notes), "HOME": "/home/someone"}
    subprocess.run(
        ["bash", "-c", script, str(folder / "script.sh")], cwd=folder, env=environment, check=True, capture_output=True
    )
    words, found = notes.read_bytes().decode().split("\0")[:-1], []
    while words:
        count = int(words.pop(0)) + 1
        found.append(words[:count])
        del words[:count]
    assert not (folder / "broken").exists()
    return found


def words_of(call):
    """The command's own words, its flags by name, and what follows the first word that is neither."""
    known = max((name for name in FLAGS if " ".join(call).startswith(f"{name} ")), key=len, default=None)
    assert known, f"{call}: no source for this command"
    rest = call[len(known.split()) :]
    if call[:2] == ["docker", "run"]:
        rest = rest[: next(index for index, word in enumerate(rest) if not word.startswith("--"))]
    return known, [word.partition("=") for word in rest if word.startswith("--")]
