"""What the benchmarks train in this process is what the product does: folds, judgement, order."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import duplicates, loop
from bench.detection_product import ANSWERED, BEFORE, MINE, WITH_ENCODER, mined
from bench.loop_orders import ORDERS, TableStats
from bench.training import Rows, cross_fit, evidence, folds_of, train
from cluster.interfaces import DYNAMICS, FOLD
from cluster.scores.feedback import Feedback
from relabel_service.tasks import spans
from relabel_service.tasks.spans import Span
from tests.support.cross_fit import auroc
from tests.tasks.test_text_classification import planted

TASK = "text_classification"


def rows(num_rows: int = 300, noise: float = 0.15, seed: int = 0) -> tuple[Rows, list[str]]:
    found = planted(num_rows, noise=noise, seed=seed)
    return Rows(TASK, found.ids, found.contents, found.labels), found.gold


def settings(*reviewed_weights: float) -> loop.Settings:
    return loop.Settings(
        data=None,  # type: ignore[arg-type]
        out=None,  # type: ignore[arg-type]
        only=(),
        label="label",
        num_seeds=1,
        num_rounds=2,
        share=0.15,
        error_rates=(0.0,),
        reviewed_weights=reviewed_weights or (1.0,),
    )


def test_rows_are_judged_by_the_model_that_has_not_seen_them_and_watched_by_the_others() -> None:
    some, gold = rows()
    scored = cross_fit(some, num_folds=3).scored
    assert scored["id"].to_pylist() == some.ids
    assert np.array_equal(scored[FOLD].to_numpy(), folds_of(some, 3))
    watched = scored[f"{DYNAMICS}p_label"].to_numpy()
    wrong = np.array(some.labels) != np.array(gold)
    assert ((watched >= 0) & (watched <= 1)).all()
    assert auroc(1 - watched, wrong) > 0.9


def test_each_part_of_a_row_has_the_rows_fold_and_dynamics() -> None:
    texts = [json.dumps(["Ada", "lives", f"w{number}"]) for number in range(12)]
    labels = [spans.to_text([Span(0, 1, "PER"), Span(2, 3, "LOC")]) for _ in texts]
    some = Rows("token_classification", [f"r{number}" for number in range(12)], texts, labels)
    scored = cross_fit(some, num_folds=2).scored
    assert sorted(scored["unit"].to_pylist()) == ["LOC"] * 12 + ["PER"] * 12
    fold = dict(zip(some.ids, folds_of(some, 2).tolist(), strict=True))
    assert scored[FOLD].to_pylist() == [fold[row_id] for row_id in scored["id"].to_pylist()]
    watched: dict[str, set[float]] = {}
    for row in scored.select(["id", f"{DYNAMICS}p_label"]).to_pylist():
        watched.setdefault(row["id"], set()).add(row[f"{DYNAMICS}p_label"])
    assert all(len(values) == 1 for values in watched.values())


def test_every_order_but_chance_finds_planted_errors() -> None:
    some, gold = rows()
    wrong = np.array(some.labels) != np.array(gold)
    fitted = cross_fit(some)
    told = evidence(some, fitted.scored, num_folds=5)
    known = TableStats(some, fitted, told, Feedback(), np.random.default_rng(0))
    found = {name: auroc(order(known), wrong) for name, order in ORDERS.items()}
    assert found.pop("random") < 0.7
    assert all(one > 0.9 for one in found.values()), found


def test_the_products_verdicts_come_with_and_without_an_encoder() -> None:
    some, gold = rows()
    wrong = np.array(some.labels) != np.array(gold)
    # An encoder that knows the truth, but for some noise.
    names = sorted(set(gold))
    vectors = np.eye(3)[[names.index(name) for name in gold]]
    vectors += 0.1 * np.random.default_rng(0).normal(size=vectors.shape)
    found = mined(some, encoded=vectors, wrong=wrong, seed=0)
    answered = {f"{name}{ANSWERED}" for name in (MINE, WITH_ENCODER)}
    assert set(found) == {BEFORE, MINE, WITH_ENCODER, *answered}
    assert all(auroc(one.suspicion.astype(np.float64), wrong) > 0.9 for one in found.values())
    found = mined(some, encoded=None, wrong=wrong, seed=0)
    assert set(found) == {BEFORE, MINE, f"{MINE}{ANSWERED}"}


def test_a_pair_with_one_wrong_label_hides_only_if_folds_part_it() -> None:
    some, gold = rows(noise=0.0)
    # Words of its own make a text easy to remember, by which its copy is then judged.
    named = [f"{text} u{n}x v{n}y w{n}z" for n, text in enumerate(some.contents)]
    some = Rows(TASK, some.ids, named, some.labels)
    pairs = duplicates.doubled(some, gold, rate=0.1, seed=0)
    assert pairs.planted.sum() == 2 * (len(pairs.rows.ids) - len(gold))
    parted, together = duplicates.compare(pairs, seed=0).values()
    assert together.average_precision > parted.average_precision
    assert together.f1_of_flags > parted.f1_of_flags + 0.3


def test_the_loop_reaches_the_ceiling_sooner_if_rows_count_by_how_likely_they_are_right() -> None:
    some, gold = rows(noise=0.4)
    test, truth = rows(seed=1, noise=0.0)
    one = loop.Set("planted", some, np.array(gold), test, dev=None)
    assert test.labels == truth
    alike, by_doubt = (
        loop.run(
            one,
            "ours",
            error_rate=0.0,
            seed=0,
            settings=replace(settings(), label_confidence=label_confidence),
        )
        for label_confidence in (False, True)
    )
    assert alike[0] == by_doubt[0]
    assert alike[0] < alike[-1] < by_doubt[-1]
    assert by_doubt[1] > alike[1] + 0.05
    assert loop.needed(np.array(by_doubt), [0, 45, 90], by_doubt[-1], 120) == "90 (0.8x)"
    assert loop.needed(np.array([0.1, 0.2]), [0, 60], 0.9, 120) == "> 60 (0.5x)"


def test_a_row_that_weighs_nothing_is_not_learned_from() -> None:
    some, gold = rows(noise=0.4)
    wrong = np.array(some.labels) != np.array(gold)
    weighed = replace(some, weights=tuple(np.where(wrong, 0.0, 1.0).tolist()))
    test, _ = rows(seed=1, noise=0.0)
    of_all, of_right = (loop.accuracy(train(one), test) for one in (some, weighed))
    assert of_right > max(of_all, 0.95)


def test_of_several_weights_of_decided_rows_the_best_on_dev_is_taken() -> None:
    some, gold = rows(noise=0.45)
    dev, _ = rows(seed=1, noise=0.0)
    one = loop.Set("planted", some, np.array(gold), dev, dev)
    asked = np.arange(len(gold)) < 100
    labels = np.where(asked, np.array(gold, object), np.array(some.labels, object))
    found = [
        loop._trained(one, labels, asked, np.ones(300), seed=0, settings=settings(*weights))
        for weights in ((1.0,), (100.0,), (1.0, 100.0))
    ]
    alike, decided, chosen = (loop.accuracy(model, dev) for _, model in found)
    assert decided > alike
    assert chosen == decided
    assert found[-1][0].weights == (*[100.0] * 100, *[1.0] * 200)


def test_a_folder_without_the_label_column_is_no_set(tmp_path: Path) -> None:
    folder = tmp_path / TASK / "some"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        pq.write_table(pa.table({"id": ["a"]}), folder / f"{name}.parquet")
    assert loop.main(["--data", str(tmp_path), "--out", str(tmp_path / "out.md")]) == 1
    assert not (tmp_path / "out.md").exists()
