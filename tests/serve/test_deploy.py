"""What is deployed is valid, and speaks of commands, options and metrics that there are."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, missing

from imgprep.app.cli import parser
from imgprep.serve.metrics import Metrics

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))


def documents(path):
    return [d for d in yaml.safe_load_all(path.read_text("utf-8")) if d]


@pytest.mark.parametrize("path", [p for p in MANIFESTS if p.name != "kustomization.yaml"], ids=lambda p: p.name)
def test_kubernetes_takes_the_manifests_and_finds_a_wrong_one(path):
    validate = validator()
    for document in documents(path):
        validate.validate(document, "1.29", strict=True)
        wrong = document | {"spec": {**document["spec"], "nosuch": 1}}
        with pytest.raises(Exception, match="nosuch"):
            validate.validate(wrong, "1.29", strict=True)


def validator():
    try:
        import kubernetes_validate
    except ModuleNotFoundError:
        missing("the package kubernetes-validate")
    return kubernetes_validate


def schema_fault(schema, path):
    """What check-jsonschema finds wrong by one of the schemas that come with it; "" for nothing."""
    if not importlib.util.find_spec("check_jsonschema"):
        missing("the package check-jsonschema")
    words = ["-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    found = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60)
    return "" if found.returncode == 0 else found.stdout + found.stderr


@pytest.mark.parametrize(
    ("name", "schema", "word"),
    [
        ("compose.yaml", "vendor.compose-spec", "stop_grace_period"),
        ("ci/github.yml", "vendor.github-workflows", "runs-on"),
    ],
)
def test_a_file_is_of_its_schema_and_a_typo_is_found(name, schema, word, tmp_path):
    assert schema_fault(schema, DEPLOY / name) == ""
    text = (DEPLOY / name).read_text("utf-8")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace(word, word[:-1]))
    assert wrong.read_text() != text and word[:-1] in schema_fault(schema, wrong)


def test_clients_inside_compose_are_told_a_broker_that_they_reach():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    words = services["work"]["command"]
    told = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert told == f"PLAINTEXT://{words[words.index('--broker') + 1]}"


def commands():
    """Every command line of ours that stands in deploy/."""
    for path in MANIFESTS:
        for document in documents(path):
            spec = document.get("spec", {}).get("template", {}).get("spec", {})
            yield from (c["args"] for c in spec.get("containers", []) if "args" in c)
    large = (DEPLOY / "kubernetes" / "overlays" / "large" / "kustomization.yaml").read_text("utf-8")
    yield yaml.safe_load(yaml.safe_load(large)["patches"][0]["patch"])[0]["value"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    yield from (services[name]["command"] for name in ("serve", "work"))
    (last,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M)
    yield json.loads(last)


def test_every_command_is_one_that_imgprep_takes():
    found = list(commands())
    assert len(found) == 6
    for words in found:
        options = parser().parse_args(words)
        assert options.command.__name__ in ("run_serve", "run_work")


def test_nothing_listens_to_the_world_without_keys():
    for words in commands():
        assert words[0] == "work" or "--keys-env" in words


def test_the_dashboard_shows_metrics_that_there_are():
    metrics = Metrics()
    metrics.requests.labels("fit", "").inc()
    metrics.seconds.labels("fit").observe(1)
    text = metrics.text().decode()
    # Watched by the service when it starts.
    text += " imgprep_waiting imgprep_worker_deaths imgprep_bytes_in_flight"
    panels = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text("utf-8"))["panels"]
    for panel in panels:
        for name in re.findall(r"imgprep_\w+", panel["targets"][0]["expr"]):
            assert name in text, panel["title"]
    assert len(panels) == 6


def test_no_secret_stands_in_deploy():
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text("utf-8")
            assert not re.search(r"(?i)(password|secret|token)\w*\s*[:=]\s*[\"']?[A-Za-z0-9/+]{12,}", text), path
