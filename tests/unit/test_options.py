"""The flags of every job, and which engine a job takes.

The list of flags is frozen: a new knob is a decision, written down here.
"""

from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from cluster.engine.local import LocalEngine
from cluster.engine.workers import Workers
from jobs.common.session import EngineName, choose_engine, session
from relabel_service.errors import InvalidInput

JOBS = Path(__file__).parents[2] / "jobs"

COLUMNS = "--task --content-column --label-column --id-column --media-prefix"
ENGINE = "--engine --num-workers --use-gpu --cpus-per-gpu"
TRAINING = "--model --folds --epochs --tokenize --seed"
SELECTION = "--top --budget --threshold"
FLAGS = {
    "audit": "table --task --content-column --label-column --id-column --budget --classes --model "
    "--encoder --predictions --predictions-only --page --findings --run-id --format --media --seed "
    "--json",
    "train": f"{COLUMNS} {TRAINING} {ENGINE} --dataset --out --version --weight-column "
    "--batch-size --learning-rate --lineage --reviewed-weight --label-confidence --max-failures "
    "--checkpoint-interval-s --test --gold-column --track",
    "mine": f"{SELECTION} {ENGINE} --dataset --training --findings --run-id --quarantine --version "
    "--unit --sampling --predictions --predictions-only --media-prefix --lineage --feedback "
    "--label-confidence --disagreement --encoder --audit --batch-rows --keep-predictions "
    "--reuse-run --each-copy --show --track",
    "report": "findings --run-id --out --top --json",
    "merge": f"{COLUMNS} --dataset --results --campaign --lineage --skip-changed --consensus "
    "--incarnation",
    "pattern": f"{COLUMNS} {SELECTION} {ENGINE} --dataset --findings --run-id --case --case-id "
    "--label --new-class --cases --similarity-by --encoder --version --lineage",
    "policy": f"{COLUMNS} {TRAINING} {ENGINE} --dataset --out --dev --weight-column --action "
    "--budget --threshold --weight --disagreement --test --gold-column --segment-column",
    "self_refine": f"{COLUMNS} {TRAINING} {ENGINE} --dataset --out --action --top-k --rounds --dev "
    "--test --gold-column --sampling",
    "loop": f"{COLUMNS} {SELECTION} {TRAINING} {ENGINE} --out --dataset --demo --gold-column --dev "
    "--test --rounds --train-every --encoder --audit --feedback --reviewed-weight "
    "--label-confidence --seconds-per-label --stop-below --labelers --error-rate --votes-required "
    "--consensus --queue --port --http-port --each-copy --track --json",
}


def modules() -> dict[str, str]:
    """Job -> the module that holds its command."""
    files = {path.stem: f"jobs.{path.stem}" for path in JOBS.glob("*.py")}
    folders = {
        path.parent.name: f"jobs.{path.parent.name}.__main__" for path in JOBS.glob("*/__main__.py")
    }
    return {name: module for name, module in (files | folders).items() if name != "__init__"}


def test_every_job_is_listed() -> None:
    assert modules().keys() == FLAGS.keys()


@pytest.mark.parametrize("job", FLAGS)
def test_the_flags_of_a_job_are_these(job: str) -> None:
    command = get_command(import_module(modules()[job]).app)
    flags = [parameter.opts[0] for parameter in command.params if parameter.name != "help"]
    assert sorted(flags) == sorted(FLAGS[job].split())


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_one_worker_needs_no_ray_however_large_the_table(no_cluster: None) -> None:
    assert choose_engine(EngineName.AUTO, workers=Workers()) == (EngineName.LOCAL, "one worker")


@pytest.mark.parametrize(
    ("workers", "reason"),
    [(Workers(2), "2 workers share the work"), (Workers(use_gpu=True), "a GPU is asked for")],
)
def test_auto_takes_ray_where_it_pays(no_cluster: None, workers: Workers, reason: str) -> None:
    assert choose_engine(EngineName.AUTO, workers=workers) == (EngineName.RAY, reason)
    chosen = choose_engine(EngineName.LOCAL, workers=workers)
    assert chosen == (EngineName.LOCAL, "--engine local")


def test_auto_takes_the_cluster_that_a_job_was_submitted_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    name, reason = choose_engine(EngineName.AUTO, workers=Workers())
    assert (name, reason) == (EngineName.RAY, "RAY_ADDRESS is 10.0.0.1:6379")


def test_a_job_says_which_engine_it_takes_and_why(
    no_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with session(EngineName.AUTO, workers=Workers()) as engine:
        assert isinstance(engine, LocalEngine)
    assert capsys.readouterr().err == "engine: local (one worker)\n"


def test_without_ray_a_job_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (
        pytest.raises(InvalidInput, match=r"pip install 'relabel-service\[cluster\]', or use"),
        session(EngineName.RAY, workers=Workers()),
    ):
        pass
    with session(EngineName.LOCAL, workers=Workers()) as engine:
        assert isinstance(engine, LocalEngine)
