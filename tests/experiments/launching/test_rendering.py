"""experiments/launching/rendering.py: Bash runs the scripts, with commands that note what they are given."""

import importlib
import re

import pytest
import yaml

from cnnvision.errors import ConfigError
from experiments import launch, train
from experiments.launching.rendering import GRACE
from tests.experiments.launching.commands import CONFIG, FLAGS, PLACE, WIDE, calls_of, files, words_of

SIXTEEN = (("data.batch_size", "16"), ("data.eval_batch_size", "16"))
ROUTES = (("gce", "v6e:4x4"), ("gke", "v6e:4x4"), ("xpk", "v6e:4x4"), ("tpu-vm", "v5e:4x4"))
HOSTILE = 'it\'s "quoted" $(touch broken) `touch broken` ${HOME} $HOME \\ ; # & | > < * ~ @{name} é 🙂'


def in_container(words):
    """What Kubernetes makes of a container's args: kubernetes/kubernetes, third_party/forked/golang/expansion/expand.go."""
    assert not [word for word in words if re.search(r"(?<!\$)(\$\$)*\$\(", word)], "would be a variable of Kubernetes"
    return [word.replace("$$", "$") for word in words]


def trained(words, monkeypatch):
    """What `train` reads from the words that a host gives it: the config and the run folder."""
    ran, joined = [], []
    module, *flags = words
    assert module == "experiments.train" and importlib.import_module(module) is train
    monkeypatch.setattr(train, "run", lambda *given: ran.append(given) or {"AP": 0.5})
    monkeypatch.setattr(train, "cache_compilations", lambda: None)
    monkeypatch.setattr("jax.distributed.initialize", lambda *given, **_: joined.append(given))
    assert train.command(flags) == 0
    assert joined in ([], [(None, None, None)]), "JAX finds the other hosts by itself"
    return ran[0], bool(joined)


def command_of(route, written, folder):
    """What the container of a host is given, as Python gets it."""
    if route == "gke":
        return in_container(container_of(written)["args"])
    if route == "xpk":
        create = next(call for call in calls_of(written["create.sh"], folder) if call[:3] == ["xpk", "workload", "create"])
        (line,) = [word.removeprefix("--command=") for word in create if word.startswith("--command=")]
        assert line.startswith("exec "), "xpk's script sends SIGTERM to what it started: that must be Python"
        (call,) = calls_of(f"({in_container([line])[0]})", folder)
        assert call[:2] == ["python", "-m"]
        return call[2:]
    run = next(call for call in calls_of(written["host.sh"], folder) if call[:2] == ["docker", "run"])
    return run[next(index for index, word in enumerate(run) if word.endswith("/tpu:latest")) + 1 :]


def container_of(written):
    (job,) = yaml.safe_load(written["jobset.yaml"])["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(
    ("route", "topology"), [*ROUTES, ("gce", "tpu7x:2x2x2"), ("gke", "tpu7x:2x2x2"), ("gke", "v5e:1x1")]
)
@pytest.mark.parametrize("spot", [False, True])
def test_scripts_run_and_all_flags_are_known(route, topology, spot, tmp_path):
    written = files(route, topology, spot=spot)
    for name, text in written.items():
        if name.endswith(".sh"):
            for call in calls_of(text, tmp_path):
                if call[0] not in ("curl", "systemd-run"):
                    command, flags = words_of(call)
                    allowed = FLAGS[command] | (WIDE if call[0] == "gcloud" else set())
                    assert not {flag for flag, _, _ in flags} - allowed, call
                    assert call[0] not in ("gcloud", "xpk") or "--project=some-project" in call
        else:
            assert yaml.safe_load(text)
        assert not re.search(r"@\{|  \\$", text, re.M)
    assert {"create.sh", "watch.sh", "stop.sh", "delete.sh"} <= {*written}


@pytest.mark.parametrize(("route", "topology"), ROUTES)
@pytest.mark.parametrize("value", [f"{HOSTILE}\nnewline", HOSTILE, "' '", "-x", "$$", "$(HOME) $$(HOME)"])
def test_values_arrive_as_they_were_given(route, topology, value, tmp_path, monkeypatch):
    if route == "xpk" and "\n" in value:
        with pytest.raises(ConfigError, match="a value has a line break, --route=gke takes it"):
            files(route, topology, [("data.source", f"coco:gs://bucket/{value}")])
        return
    overrides = [("data.source", f"coco:gs://bucket/{value}"), ("training.steps", "7"), *SIXTEEN]
    workdir = f"gs://bucket/{HOSTILE}"
    written = files(route, topology, overrides, f"{CONFIG}:smoke", workdir=workdir)
    (config, place), together = trained(command_of(route, written, tmp_path), monkeypatch)
    assert config.data.source == f"coco:gs://bucket/{value}" and place == workdir
    assert config.training.steps == 7 and together


@pytest.mark.parametrize("route", ["gce", "gke"])
def test_one_host_joins_nobody(route, tmp_path, monkeypatch):
    written = files(route, "v6e:2x2")
    assert not trained(command_of(route, written, tmp_path), monkeypatch)[1]
    assert "-policy" not in "".join(re.findall("^[^#].*", written["create.sh"], re.M)).replace("--maintenance-policy", "")
    assert "--tpu-topology" not in written["create.sh"]


def test_the_manifest_starts_one_process_a_host_and_starts_them_again():
    spec = yaml.safe_load(files("gke", "v5p:2x2x4")["jobset.yaml"])
    assert (spec["apiVersion"], spec["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert spec["metadata"] == {"name": "faster-rcnn-coco"}
    policy = spec["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"])
    (job,) = spec["spec"]["replicatedJobs"]
    job, replicas = job["template"]["spec"], job["replicas"]
    assert (replicas, job["completionMode"], job["completions"], job["parallelism"]) == (1, "Indexed", 4, 4)
    assert job["backoffLimit"] == 0
    stopped, lost = job["podFailurePolicy"]["rules"]
    assert stopped["action"] == lost["action"] == "FailJob"
    assert stopped["onExitCodes"] == {"containerName": "train", "operator": "In", "values": [75]}
    assert lost["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] == GRACE >= 30
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "2x2x4",
        "cloud.google.com/gke-nodepool": "hosts",
    }
    (container,) = pod["containers"]
    assert container["image"] == "us-central1-docker.pkg.dev/some-project/cnnvision/tpu:latest"
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert "command" not in container, "the image's entry point passes signals on"


def test_a_node_that_is_taken_away_waits_for_its_pods():
    written = files("gke", "v6e:4x4", spot=True)
    times = yaml.safe_load(written["node.yaml"])["kubeletConfig"]
    assert times["shutdownGracePeriodSeconds"] - times["shutdownGracePeriodCriticalPodsSeconds"] == GRACE
    assert "node.yaml" not in files("gke", "v6e:4x4")


@pytest.mark.parametrize(("route", "topology"), [ROUTES[0], ROUTES[3]])
def test_a_host_keeps_its_container_running_and_gives_it_time_to_save(route, topology, tmp_path):
    script = files(route, topology)["host.sh"]
    calls = calls_of(script, tmp_path)
    assert [
        "docker",
        "login",
        "--username=oauth2accesstoken",
        "--password-stdin",
        "https://us-central1-docker.pkg.dev",
    ] in calls
    run = next(call for call in calls if call[:2] == ["docker", "run"])
    assert {"--restart=on-failure", f"--stop-timeout={GRACE}", "--privileged", "--network=host"} <= {*run}
    assert [call[1] for call in calls if call[0] == "docker"] == ["login", "pull", "stop", "rm", "run"]
    assert ("shutdown --poweroff now" in script) == (route == "gce"), "a TPU of the Cloud TPU API costs as much when off"
    other = files(route, topology, image="ghcr.io/someone/tpu:1")["host.sh"]
    assert "docker login" not in other and "oauth2accesstoken" not in other


def test_xpk_starts_again_what_was_asked_to_stop():
    script = files("xpk", "v5e:4x4", spot=True)["create.sh"]
    assert "--restart-on-exit-codes=1,75" in script and f"--termination-grace-period-seconds={GRACE}" in script
    assert "--tpu-type=v5litepod-4x4" in script and script.count("--spot") == 1 and "--on-demand" not in script


def test_prepared_data_sets_are_found_in_the_bucket(tmp_path):
    tfds = {"config": "configs/resnet50_imagenet.py", "tfds": "gs://bucket/tfds"}
    overrides = {"overrides": [("data.batch_size", "1024")]}
    given = lambda route, topology: launch.run(route=route, topology=topology, **PLACE, **tfds, **overrides)
    (variable,) = container_of(given("gke", "v6e:4x4"))["env"]
    assert variable == {"name": "TFDS_DATA_DIR", "value": "gs://bucket/tfds"}
    for route, script in (("gce", "host.sh"), ("xpk", "create.sh")):
        assert any(
            "--env=TFDS_DATA_DIR=gs://bucket/tfds" in call for call in calls_of(given(route, "v6e:4x4")[script], tmp_path)
        )
