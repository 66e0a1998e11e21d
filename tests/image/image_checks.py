"""The images, built and at work on a real broker: `make test-image` (it is not part of `make test`)."""

import json
import re
import subprocess
import uuid
from itertools import islice
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.end_to_end.job import Job, wait_until
from tests.end_to_end.stream import events
from tests.helm.chart import Object
from tests.helm.release import PASSWORD, USER, Release, assert_it_trains, training
from tests.image.podman import ROOT, build, command, name_of, podman
from tests.topics import Topics

PATIENCE_S = 120


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def target(request: pytest.FixtureRequest) -> str:
    """Of the Dockerfile; without a GPU the image for one runs its model on the CPU."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def image(target: str) -> str:
    return build(target)


class InImages(Release):
    """A release whose containers run in the image for training, with the folder's parts mounted where they belong."""

    def here(self, text: str) -> str:
        """Paths in a pod are what they are."""
        return text

    def run(self, container: Object) -> "subprocess.CompletedProcess[str]":
        """Run a container that ends by itself, within its limit of memory."""
        program, *arguments = self.argv(container)
        options = [f"--entrypoint={program}"]
        options += [f"--volume={self.folder}/{part}:/{part}:ro" for part in ("etc/kafka", "etc/anomaly-worker")]
        for mount in container["volumeMounts"]:
            if mount["name"] in {"model", "training"}:
                way = "ro" if mount.get("readOnly") else "rw"
                options.append(f"--volume={self.folder}{mount['mountPath']}:{mount['mountPath']}:{way}")
        options += [f"--env={name}={value}" for name, value in self.environment(container).items()]
        memory = container["resources"]["limits"]["memory"].removesuffix("i").lower()
        argv = command(name_of("export"), *arguments, options=tuple(options), memory=memory)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def printed(image: str, program: str) -> str:
    """What a program prints that the image's Python runs."""
    argv = command(image, "-c", program, options=("--entrypoint=python",))
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout


@pytest.mark.timeout(1500)  # the first time packages are downloaded and installed
def test_the_image_runs_the_worker_as_a_user_with_a_number(image: str) -> None:
    (about,) = json.loads(podman("inspect", image))
    assert about["Config"]["User"] == "65532:65532"
    assert about["Config"]["Entrypoint"] == ["anomaly-worker"]
    labels = about["Config"]["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    told = subprocess.run(command(image, "--version"), capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert told.stdout == f"anomaly-worker {labels['org.opencontainers.image.version']}\n"
    print(f"size: {about['Size'] / 1e6:.0f} MB")  # noqa: T201 - shown by pytest -s


def test_the_image_holds_what_the_lock_names_and_lists_it(target: str, image: str) -> None:
    lock = (ROOT / "requirements" / f"worker-{target}.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock, re.MULTILINE))
    listed = json.loads(printed(image, "print(open('/opt/anomaly-worker/sbom.cdx.json').read())"))
    assert listed["bomFormat"] == "CycloneDX"
    held = {part["name"].lower().replace("_", "-"): part["version"] for part in listed["components"]}
    assert held.pop("anomaly-worker")
    assert held.items() <= locked
    runtime = {"cpu": {"onnxruntime"}, "gpu": {"onnxruntime-gpu", "nvidia-cudnn-cu13"}}[target]
    assert {"confluent-kafka", "msgspec", "pyarrow"} | runtime <= held.keys()
    assert "torch" not in held


def test_the_image_has_the_compiled_part_and_no_compiler(image: str) -> None:
    assert printed(image, "from worker import rows; print(rows.COMPILED)") == "True\n"
    assert printed(image, "import shutil; print(shutil.which('cc'), shutil.which('pip'))") == "None None\n"


def test_it_scores_a_topic_without_rights_on_its_machine_and_ends_by_sigterm(
    image: str, bootstrap: str, tmp_path: Path
) -> None:
    topics = Topics(bootstrap)
    job = Job(topics, tmp_path)
    job.set({"model": {"uri": "/job/model.onnx"}, "http": {"port": None}})
    (tmp_path / "worker.yaml").write_text(json.dumps(job._settings), encoding="utf-8")
    tmp_path.chmod(0o755)
    job.write(list(islice(events(), 3000)))
    name = f"worker-{uuid.uuid4().hex[:10]}"
    mounts = (f"--name={name}", f"--volume={tmp_path}:/job:ro")
    argv = command(image, "run", "--config", "/job/worker.yaml", options=mounts)
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as container:
        said = (tmp_path / "log").read_text
        try:
            wait_until(lambda: container.poll() is not None or bool(job.committed()), said, PATIENCE_S)
            assert container.poll() is None, said()
            job.wait_until_done()
            podman("kill", "--signal=TERM", name)
            assert container.wait(PATIENCE_S) == 0, said()
        finally:
            podman("kill", name, check=False)
    job.set({"model": {"uri": str(job.model)}})
    assert job.verify().scored > 2000
    topics.delete_all()


@pytest.mark.timeout(1500)
def test_a_training_job_runs_in_the_image_for_training(tmp_path: Path) -> None:
    image = build("export")
    (about,) = json.loads(podman("inspect", image))
    print(f"size: {about['Size'] / 1e6:.0f} MB")  # noqa: T201 - shown by pytest -s
    assert about["Config"]["User"] == "65532:65532"
    with Broker(users={USER: PASSWORD}) as broker:
        release, steps = training(broker, tmp_path, InImages)
        tmp_path.chmod(0o755)
        for part in ("model", "training"):  # as volumes are, for the pod's group
            (tmp_path / part).chmod(0o777)
        assert_it_trains(release, steps)
