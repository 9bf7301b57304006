"""Run by the interpreter that has SkyPilot and kubernetes-validate: says as JSON what is wrong with tasks and pods."""

import json
import sys
from pathlib import Path


def _of_task(task):
    import sky

    try:
        sky.Task.from_yaml_config(task)
    except ValueError as error:
        return str(error)
    return ""


def _of_pod(group):
    import kubernetes_validate

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
    try:
        kubernetes_validate.validate(pod, "1.32", strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    found = {name: _of_task(task) for name, task in given["tasks"].items()}
    found |= {name: _of_pod(pod) for name, pod in given["pods"].items()}
    sys.stdout.write(json.dumps(found))
