"""The job for KubeRay says what there is: a pipeline's parameters, the lock's Ray, pods that Kubernetes takes."""

import shlex

import pytest
import yaml
from conftest import ROOT, missing

JOB = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text("utf-8"))
CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def test_its_command_gives_the_pipeline_parameters_that_it_has():
    program, verb, name, *words = shlex.split(JOB["spec"]["entrypoint"])
    pipeline = yaml.safe_load((ROOT / "pipelines" / f"{name}.yaml").read_text("utf-8"))
    given = dict(word.split("=", 1) for word in words if word != "-p")
    assert (program, verb) == ("imgprep", "run") and given.keys() <= pipeline["parameters"].keys()
    assert all(given[key].startswith("s3://") for key in ("train_csv", "test_csv", "out"))


def test_its_ray_is_that_of_the_lock():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert f"\nray=={CLUSTER['rayVersion']}\n" in lock


@pytest.mark.parametrize("group", GROUPS, ids=["head", "workers"])
def test_kubernetes_takes_its_pods(group):
    try:
        import kubernetes_validate
    except ModuleNotFoundError:
        missing("the package kubernetes-validate")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **group["template"]}
    kubernetes_validate.validate(pod, "1.29", strict=True)


def test_the_head_computes_nothing():
    """Where it dies all is lost; it is left alone."""
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
