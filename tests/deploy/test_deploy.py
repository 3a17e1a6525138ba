"""The files of deploy/ against the schemas of those who read them: Docker Compose, Prefect and Kubernetes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from helpers.paths import PROJECT
from kubernetes_asyncio.client import models
from mlflow.server.security_utils import should_block_cors_request
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

DEPLOY = PROJECT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
TEMPLATE = json.loads((DEPLOY / "kubernetes-pool.json").read_text())
# Not of a pod, but Prefect takes a job without them for incomplete; Kubernetes passes over them.
PREFECTS_OWN = {"spec.template.spec.completions", "spec.template.spec.parallelism"}


def variables() -> dict[str, str]:
    lines = (DEPLOY / "example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_compose_file_is_one():
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_browsers_may_use_the_mlflow_page_at_the_heads_address():
    """MLflow takes changes from pages of its own address only if it is told that address."""
    options = dict(word.split("=", 1) for word in COMPOSE["services"]["mlflow"]["command"] if word.startswith("--"))
    address = "http://${CFNSR_HEAD}:5000"
    assert address.removeprefix("http://") in options["--allowed-hosts"].split(",")
    assert not should_block_cors_request(address, "POST", options["--cors-allowed-origins"].split(","))
    assert should_block_cors_request("http://elsewhere:5000", "POST", options["--cors-allowed-origins"].split(","))


def test_every_variable_of_the_compose_file_is_in_the_example():
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert used
    assert used <= set(variables())


def test_services_wait_for_services_that_say_when_they_are_ready():
    services = COMPOSE["services"]
    waited = [item for service in services.values() for item in service.get("depends_on", {}).items()]
    assert waited
    for name, wish in waited:
        if wish["condition"] == "service_healthy":
            assert "healthcheck" in services[name]
        else:
            assert (wish["condition"], services[name]["restart"]) == ("service_completed_successfully", "no")


def test_mlflow_signs_addresses_that_other_machines_reach():
    address = COMPOSE["services"]["mlflow"]["environment"]["AWS_ENDPOINT_URL"]
    assert address.replace("${CFNSR_HEAD}", variables()["CFNSR_HEAD"]) == variables()["AWS_ENDPOINT_URL"]
    for name, service in COMPOSE["services"].items():
        if service["image"] == "cfnsr":
            assert service["extra_hosts"][0].startswith("${CFNSR_HEAD"), name


def test_files_and_volumes_of_the_compose_file_exist():
    mounts = [mount.split(":") for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    for source, *_ in mounts:
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    builds = [service["build"] for service in COMPOSE["services"].values() if "build" in service]
    assert {(DEPLOY / build["context"] / build["dockerfile"]).resolve() for build in builds} == {DEPLOY / "Dockerfile"}


def test_the_image_has_the_extras_of_services():
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pins = (PROJECT / "requirements-services.txt").read_text()
    for requirement in (*extras["postgres"], *extras["kubernetes"]):
        assert f"\n{requirement.split('>=')[0]}==" in pins
    text = (DEPLOY / "Dockerfile").read_text()
    (copied,) = re.findall(r"^COPY (\S+) /$", text, flags=re.MULTILINE)
    assert f"pip install --no-cache-dir -r /{copied}\n" in text
    assert (PROJECT / copied).exists()
    assert len(re.findall("^FROM", text, flags=re.MULTILINE)) == 1


def rendered(**values: Any) -> dict[str, Any]:
    """The Kubernetes job that Prefect's worker makes of the pool's template for a run."""
    flow_run = FlowRun(flow_id=uuid4(), name="train")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # asked for nothing
        job = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(TEMPLATE, values))
        job.prepare_for_flow_run(flow_run)
    return job.job_manifest


def unknown(content: Any, kind: str, path: str = "") -> Iterator[str]:
    """Keys that a Kubernetes type does not have, and scalars of another type."""
    inner = re.fullmatch(r"(list\[|dict\(str, )(.+)[\])]", kind)
    if inner and inner[1] == "list[":
        for item in content:
            yield from unknown(item, inner[2], path)
    elif inner:
        for name, item in content.items():
            yield from unknown(item, inner[2], f"{path}.{name}")
    elif hasattr(models, kind):
        model = getattr(models, kind)
        types = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
        for name, item in content.items():
            if name in types:
                yield from unknown(item, types[name], f"{path}.{name}".strip("."))
            else:
                yield f"{path}.{name}".strip(".")
    elif ".resources." in path and isinstance(content, int):
        return  # the client calls quantities strings; Kubernetes takes numbers too
    elif not isinstance(content, {"str": str, "int": int, "bool": bool}.get(kind, object)):
        yield f"{path} is not {kind}"


def test_the_check_finds_misspelt_keys_and_wrong_types():
    job = rendered()
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMount"] = pod["containers"][0].pop("volumeMounts")
    pod["restartPolicy"] = 1
    found = set(unknown(job, "V1Job")) - PREFECTS_OWN
    assert found == {"spec.template.spec.containers.volumeMount", "spec.template.spec.restartPolicy is not str"}


@pytest.mark.parametrize("values", [{}, {"gpus": 4, "labels": {"team": "a"}, "service_account_name": "runner"}])
def test_the_pools_template_makes_a_job_of_kubernetes(values):
    job = rendered(**values)
    assert set(unknown(job, "V1Job")) == PREFECTS_OWN
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "prefect"
    assert container["resources"]["limits"] == {"nvidia.com/gpu": values.get("gpus", 1)}
    assert container["envFrom"] == [{"secretRef": {"name": "cfnsr"}}]


def test_the_templates_variables_are_used_and_those_that_prefect_fills_in_are_there():
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(TEMPLATE["job_configuration"])))
    assert used == set(TEMPLATE["variables"]["properties"])
    needed = set(KubernetesWorker.get_default_base_job_template()["job_configuration"]) - {
        "annotations",
        "cluster_config",
    }
    assert needed == set(TEMPLATE["job_configuration"])


def test_the_volume_and_the_checkout_are_what_the_jobs_mount():
    volume, checkout = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert list(unknown(volume, "V1PersistentVolumeClaim")) == []
    assert list(unknown(checkout, "V1Job")) == []
    (made,), (used,) = (job["spec"]["template"]["spec"]["containers"] for job in (checkout, rendered()))
    assert made["image"] == used["image"]
    assert made["envFrom"] == used["envFrom"]
    assert made["volumeMounts"][0] in used["volumeMounts"]
    claims = [job["spec"]["template"]["spec"]["volumes"][0] for job in (checkout, rendered())]
    assert [claim["persistentVolumeClaim"]["claimName"] for claim in claims] == [volume["metadata"]["name"]] * 2
    assert set(re.findall(r"\$(\w+)", made["args"][0])) <= set(variables())
