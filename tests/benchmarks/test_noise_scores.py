"""bench.noise_scores: planted errors are found, and the table says by which score how well."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import noise_scores

WORDS = {"ham": "meeting lunch report agenda", "spam": "prize cash click money"}


def test_planted_errors_are_found_by_every_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    gold = ["ham", "spam"] * 60
    texts = [" ".join(rng.choice(WORDS[name].split(), 3)) for name in gold]
    folder = tmp_path / "text_classification" / "mail"
    folder.mkdir(parents=True)
    table = {"id": range(120), "text": texts, "label": gold, "gold": gold}
    pq.write_table(pa.table(table), folder / "train.parquet")
    assert noise_scores.main(["--data", str(tmp_path), "--only", "mail", "--seeds", "1"]) == 0
    head, _, *rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
    names = [name.strip() for name in head]
    assert names == ["set", "labels", "model", *noise_scores.SCORES, "better by the rival"]
    kinds = {(row[0].strip(), row[1].strip(), row[2].strip()) for row in rows}
    assert kinds == {
        ("mail", f"planted, {kind}, seed 0", model)
        for kind in noise_scores.PLANTED
        for model in noise_scores.TEXT_MODELS
    }
    for row in rows:
        assert all(float(cell) > 0.9 for cell in row[3:-1]), row
