"""The committed data sets are what tests/data/README.md says of them."""

import io
import re
import wave
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.data import build_simulated_clicks, png, slices

README = (slices.FOLDER / "README.md").read_text()
ROW = re.compile(
    r"^\| (\w+/\w+) \| (\d+) / (\d+) / (\d+) \| ([\d.]+)% \| (real|planted) \| (.*) \|$", re.M
)


@dataclass(frozen=True)
class Stated:
    """One line of the README's table; noise in percent."""

    name: str
    rows: tuple[int, ...]
    noise: float
    classes: dict[str, int]


def _stated() -> list[Stated]:
    return [
        Stated(
            name=name,
            rows=tuple(map(int, rows)),
            noise=float(noise),
            classes={word: int(count) for word, count in re.findall(r"([^\s,]+) (\d+)", classes)},
        )
        for name, *rows, noise, _, classes in ROW.findall(README)
    ]


STATED = _stated()
every_set = pytest.mark.parametrize("stated", STATED, ids=lambda stated: stated.name)


def test_the_readme_lists_every_data_set() -> None:
    folders = {
        str(Path(path).parent.relative_to(slices.FOLDER))
        for path in slices.FOLDER.glob("*/*/train.parquet")
    }
    assert {stated.name for stated in STATED} == folders


@every_set
def test_rows_noise_and_classes_are_as_stated(stated: Stated) -> None:
    tables = [slices.read(stated.name, split) for split in slices.SPLITS]
    assert tuple(len(table) for table in tables) == stated.rows
    assert 100 * slices.noise_rate(tables[0]) == pytest.approx(stated.noise, abs=0.05)
    if stated.classes:
        assert slices.class_counts(tables[0]) == stated.classes


@every_set
def test_columns_agree_and_hold_no_nulls(stated: Stated) -> None:
    tables = [slices.read(stated.name, split) for split in slices.SPLITS]
    for table in tables:
        assert table.schema.equals(tables[0].schema)
        assert table.schema.field("label").type == table.schema.field("gold").type
        assert {"id", "label", "gold"} < set(table.column_names)
        assert sum(column.null_count for column in table.columns) == 0
    ids = [item for table in tables for item in table["id"].to_pylist()]
    assert len(set(ids)) == len(ids)


@every_set
def test_dev_and_test_labels_are_gold(stated: Stated) -> None:
    for split in ("dev", "test"):
        assert slices.noise_rate(slices.read(stated.name, split)) == 0


@every_set
def test_a_licence_lies_beside_the_data(stated: Stated) -> None:
    assert list((slices.FOLDER / stated.name).glob("LICENSE*"))


def test_gold_of_the_tweets_is_what_most_people_said() -> None:
    for split in slices.SPLITS:
        table = slices.read("text_classification/vader_tweets", split)
        for gold, answers in zip(
            table["gold"].to_pylist(), table["annotators"].to_pylist(), strict=True
        ):
            counts = Counter(answers)
            assert all(counts[gold] > count for name, count in counts.items() if name != gold)


def test_the_worst_label_of_the_tweets_is_as_wrong_as_stated() -> None:
    table = slices.read("text_classification/vader_tweets", "train")
    stated = re.search(r"`label_worst` .*?([\d.]+)% noise", README)
    assert stated
    assert 100 * slices.noise_rate(table, "label_worst") == pytest.approx(
        float(stated[1]), abs=0.05
    )


def test_pictures_are_png_and_sounds_are_wav() -> None:
    for name in ("image_classification/digits", "object_detection/digit_scenes"):
        for picture in slices.read(name, "train")["image"].to_pylist():
            assert picture.startswith(png.SIGNATURE)
    for sound in slices.read("audio_classification/spoken_digits", "train")["audio"].to_pylist():
        with wave.open(io.BytesIO(sound)) as opened:
            assert (opened.getframerate(), opened.getsampwidth(), opened.getnchannels()) == (
                8000,
                2,
                1,
            )
            assert opened.getnframes() > 1000


def test_boxes_lie_within_their_pictures() -> None:
    for split in slices.SPLITS:
        for row in slices.read("object_detection/digit_scenes", split).to_pylist():
            for box in row["label"] + row["gold"]:
                assert 0 <= box["x0"] < box["x1"] <= row["width"]
                assert 0 <= box["y0"] < box["y1"] <= row["height"]


def test_tags_match_the_tokens_and_every_entity_begins_with_b() -> None:
    for split in slices.SPLITS:
        for row in slices.read("ner/wikinews", split).to_pylist():
            for tags in (row["label"], row["gold"]):
                assert len(tags) == len(row["tokens"])
                for before, tag in zip(["O", *tags], tags, strict=False):
                    assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_the_simulated_set_is_rebuilt_to_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_simulated_clicks, "TARGET", tmp_path)
    build_simulated_clicks.main()
    for split in slices.SPLITS:
        assert pq.read_table(tmp_path / f"{split}.parquet").equals(
            slices.read("ctr/simulated_clicks", split)
        )
