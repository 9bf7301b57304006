"""The files for clusters that the pages show: SLURM runs them, SkyPilot and Kubernetes' schemas take them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.files import write_records
from dissensus.judges.store.store import JudgmentStore
from dissensus.simulate import SimulationConfig, simulate

from ..docs_pages import PAGES, ROOT, check_options, words
from . import slurm

FILES = {
    name: text
    for page in PAGES
    for name, text in re.findall(
        r'^```\w+ title="(\S+\.(?:sbatch|sky\.yaml|rayjob\.yaml))"\n(.*?)^```$', page.read_text(), flags=re.M | re.S
    )
}
"""What the pages call by these names."""
PYTHON = os.environ.get("DISSENSUS_CLUSTER_PYTHON") or str(ROOT / ".cluster-venv/bin/python")
pytestmark = pytest.mark.slow


def _named(kind: str) -> list[str]:
    return sorted(name for name in FILES if name.endswith(kind))


def test_there_is_a_file_of_each_kind():
    assert _named(".sbatch")
    assert _named(".sky.yaml")
    assert _named(".rayjob.yaml")


def _commands(name: str) -> Iterator[str]:
    text = FILES[name]
    if not name.endswith(".sbatch"):
        loaded = yaml.safe_load(text)
        text = loaded.get("run", "") if name.endswith(".sky.yaml") else loaded["spec"]["entrypoint"]
    for line in text.replace("\\\n", " ").splitlines():
        yield from re.findall(r"\bdissensus [a-z].*", line)


@pytest.mark.parametrize("name", FILES)
def test_its_commands_exist(name):
    found = list(_commands(name))
    assert found or "pool" in name
    for command in found:
        check_options(words(command))


@pytest.mark.skipif(bool(slurm.missing()), reason="SLURM is not installed (scripts/install-test-tools)")
def test_slurm_runs_the_array_and_merges_what_one_run_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_records("pairs.parquet", simulate(SimulationConfig(prompts=12, responses_per_prompt=3)).pairs)
    assert (
        CliRunner().invoke(group, ["judge", "votes", "pairs.parquet", "--store", "whole.db", "--quiet"]).exit_code == 0
    )
    script = FILES["judge.sbatch"].replace("1-64", "1-2").replace("/64", "/2")
    fewer = re.sub(r"judge vllm pairs\.parquet .*--mode exact", "judge votes pairs.parquet", script)
    assert fewer != script
    Path("judge.sbatch").write_text(fewer)
    merge = next(line for page in PAGES for line in page.read_text().splitlines() if "afterok" in line)
    with slurm.cluster() as place:
        environment = {**os.environ, **place}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

        def run(*command: str) -> str:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        job = run("sbatch", "--parsable", "judge.sbatch").strip()
        last = run("bash", "-c", merge.replace("JOB", job)).split()[-1]
        until = time.monotonic() + 60
        while (state := re.search(r"JobState=(\w+)", run("scontrol", "show", "job", last))[1]) in (
            "PENDING",
            "RUNNING",
        ):
            assert time.monotonic() < until, run("squeue") + run("scontrol", "show", "jobs")
            time.sleep(0.2)
    said = "".join(out.read_text() for out in sorted(tmp_path.glob("slurm-*.out")))
    assert state in ("COMPLETED", "COMPLETING"), said
    assert _judgments("judgments.db") == _judgments("whole.db"), said


def _judgments(path: str) -> set[tuple[object, ...]]:
    with JudgmentStore(Path(path), create=False) as store:
        (judge,) = store.judges()
        return {(one.pair_id, one.judge, one.sample, one.order, one.choice) for one in store.judgments(judge=judge)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> dict[str, str]:
    """What SkyPilot and Kubernetes' schemas say of each file, and of a wrong one of each; empty where all is well."""
    if not Path(PYTHON).exists():
        pytest.skip("SkyPilot and Kubernetes' schemas are not installed (scripts/install-cluster-tools)")
    folder = tmp_path_factory.mktemp("files")
    tasks = {name: yaml.safe_load(FILES[name]) for name in _named(".sky.yaml")}
    tasks["wrong.sky.yaml"] = {**next(iter(tasks.values())), "num_node": 2}
    pods = {f"{name}:{i}": pod for name in _named(".rayjob.yaml") for i, pod in enumerate(_pods(name))}
    wrong = json.loads(json.dumps(next(iter(pods.values()))))
    wrong["template"]["spec"]["containers"][0]["resource"] = {}
    pods["wrong.rayjob.yaml"] = wrong
    (folder / "given.json").write_text(json.dumps({"tasks": tasks, "pods": pods}))
    command = [PYTHON, str(Path(__file__).with_name("cluster_schemas.py")), str(folder / "given.json")]
    environment = {**os.environ, "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _pods(name: str) -> list[dict]:
    cluster = yaml.safe_load(FILES[name])["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_skypilot_takes_its_files(asked):
    assert {name: asked[name] for name in _named(".sky.yaml")} == dict.fromkeys(_named(".sky.yaml"), "")
    assert "num_node" in asked["wrong.sky.yaml"]


def test_kubernetes_takes_the_pods(asked):
    found = {name: said for name, said in asked.items() if ".rayjob.yaml:" in name}
    assert found
    assert not any(found.values()), found
    assert "resource" in asked["wrong.rayjob.yaml"]


RAY_JOB = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {"entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"}
    | {"submissionMode", "runtimeEnvYAML", "activeDeadlineSeconds", "suspend", "submitterPodTemplate", "metadata"},
    "cluster": {"rayVersion", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling", "autoscalerOptions"},
    "head": {"rayStartParams", "template", "serviceType", "headService", "enableIngress"},
    "worker": {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"},
}
"""The fields of KubeRay's RayJob, ray.io/v1, as its types have them (1.3); its own schema is in no package."""


@pytest.mark.parametrize("name", _named(".rayjob.yaml"))
def test_a_ray_job_has_kuberays_fields_alone(name):
    job = yaml.safe_load(FILES[name])
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == RAY_JOB[""]
    assert set(job["spec"]) <= RAY_JOB["spec"]
    assert set(cluster) <= RAY_JOB["cluster"]
    assert {"template"} <= set(cluster["headGroupSpec"]) <= RAY_JOB["head"]
    for worker in cluster["workerGroupSpecs"]:
        assert {"groupName", "template"} <= set(worker) <= RAY_JOB["worker"]
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    for one in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in one.get("rayStartParams", {}).values())  # a map of strings


def test_the_table_of_costs_is_what_the_bench_prints():
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "cost_model.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout in (ROOT / "docs" / "scale.md").read_text()
