"""The benchmarks of text rows run to their end, and name every step."""

import pytest

from bench import mining_overhead, text_model


def test_what_mining_adds_is_told_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    mining_overhead.main(rows_=300, turns=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "read", "check", "profile", "encode, predict", "mine", "mine adds"
    ]  # fmt: skip


def test_the_speed_of_every_way_to_count_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    text_model.compare_speed(texts=100, turns=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("texts a CPU second" in line for line in lines)
