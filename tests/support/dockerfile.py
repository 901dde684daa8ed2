"""The Dockerfile's instructions by stage; no engine is needed to read them."""

from dataclasses import dataclass
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction: the stage it stands in, its name in capitals, its words."""

    stage: str
    name: str
    words: tuple[str, ...]


def instructions() -> list[Instruction]:
    """Every instruction that stands in a stage, in the order of the file."""
    found, stage = [], ""
    for line in _whole_lines():
        name, *words = line.split()
        if name == "FROM":
            stage = words[-1]  # each FROM says `AS stage`
        if stage:
            found.append(Instruction(stage, name.upper(), tuple(words)))
    return found


def stages() -> dict[str, str]:
    """Stage -> what it is built from, another stage or an image."""
    return {one.stage: one.words[0] for one in instructions() if one.name == "FROM"}


def in_stage(stage: str, name: str) -> list[tuple[str, ...]]:
    """The words of one kind of instruction in a stage and in the stages it is built from."""
    parents = stages()
    inherited = in_stage(parents[stage], name) if parents[stage] in parents else []
    own = [one.words for one in instructions() if (one.stage, one.name) == (stage, name)]
    return inherited + own


def _whole_lines() -> list[str]:
    lines = DOCKERFILE.read_text("utf-8").splitlines()
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(kept).replace("\\\n", " ").splitlines()
