"""The parts of a page that are about the run and its table as a whole."""

from collections import Counter
from collections.abc import Mapping

from cluster.mining.config import MineResult
from cluster.report.contents import Allowance, content_html
from cluster.report.duplicates import DuplicateGroup, Duplicates, Member
from cluster.report.facts import TableFacts
from cluster.report.items import Item
from cluster.report.markup import Html, cut, join, tag
from cluster.report.rows import TableRows
from relabel_service.tasks import task_named
from relabel_service.v1 import items_pb2, labels_pb2
from relabel_service.wire.label_text import label_text

MAX_MATRIX = 16  # classes on a side, those of most findings
MAX_LABELS = 200  # classes that are counted one by one
MAX_NAME = 80  # characters of a class's name
MAX_MEMBER_TEXT = 300
MAX_OTHER_LABELS = 8
DUPLICATE_BYTES = 300_000  # of pictures and sounds among the duplicates


def summary(rows: TableRows, *, num_findings: int, num_shown: int) -> Html:
    """How many rows, findings and items there are."""
    sentences = [f"{num_findings:,} labels look wrong"]
    if rows.mined is not None:
        sentences[0] += f" among {rows.mined.num_scored:,} scored rows"
        if rows.mined.num_quarantined:
            sentences.append(f"{rows.mined.num_quarantined:,} rows are invalid and were set aside")
    if num_shown < num_findings:
        sentences.append(f"the worst {num_shown:,} are shown")
    table = tag("p", "Table: ", tag("bdi", rows.source.uri), class_="soft") if rows.source else None
    return join(tag("p", "; ".join(sentences), "."), table)


def next_step(command: str) -> Html:
    """The command that goes on from here."""
    return tag(
        "div",
        tag("p", "People decide whether these labels are wrong. The next step:"),
        tag("pre", tag("code", command), tabindex="0", role="group", aria_label="next command"),
        id="next",
    )


def legend() -> Html:
    """What solid and dashed lines mean."""
    return tag(
        "p",
        tag("span", "given label: solid, orange", class_="given"),
        " · ",
        tag("span", "model: dashed, blue", class_="model"),
        class_="legend soft",
    )


def matrix_link(pairs: Mapping[tuple[str, str], int]) -> Html | None:
    return tag("a", "Class pairs", href="#matrix") if pairs else None


def matrix(
    mined: MineResult | None, pairs: Counter[tuple[str, str]], numbers: Mapping[str, int]
) -> Html | None:
    """Items by given and suggested class, and beside them P(given label | true class).

    numbers: of the pairs, by which the page's script filters.
    """
    if not pairs:
        return None
    by_class: Counter[str] = Counter()
    for pair, count in pairs.items():
        by_class.update(dict.fromkeys(pair, count))
    names = [name for name, _ in by_class.most_common(MAX_MATRIX)]
    probability = _noise(mined)
    head = tag("tr", tag("th", "model ↓ given →"), *(_head(name, "col") for name in names))
    lines = [
        tag(
            "tr",
            _head(true, "row"),
            *(
                _cell(given, true, pairs[given, true], probability.get((given, true)), numbers)
                for given in names
            ),
        )
        for true in names
    ]
    noted = [
        "Counts are items above; press one to see them.",
        *(
            ["Below: how often rows of the model's class carry the given label."]
            if probability
            else []
        ),
        *([f"The {MAX_MATRIX} classes of most items."] if len(by_class) > MAX_MATRIX else []),
    ]
    return tag(
        "section",
        tag("h2", "Where labels and model differ"),
        tag("p", " ".join(noted), class_="soft"),
        tag("div", tag("table", head, *lines, class_="matrix"), class_="wide", tabindex="0"),
        id="matrix",
    )


def _noise(mined: MineResult | None) -> dict[tuple[str, str], float]:
    """(given, true class) -> P(given label | true class), where the task has a noise matrix."""
    if mined is None or not mined.noise_matrix:
        return {}
    return {
        (given, true): value
        for true, of_true in zip(mined.classes, mined.noise_matrix, strict=True)
        for given, value in zip(mined.classes, of_true, strict=True)
    }


def _head(name: str, scope: str) -> Html:
    return tag("th", tag("bdi", cut(name, MAX_NAME)), scope=scope)


def _cell(
    given: str, true: str, count: int, probability: float | None, numbers: Mapping[str, int]
) -> Html:
    pair = f"{given} → {true}"
    button = None
    if count:
        about = f"{count} items given {given}, {true} to the model: show them"
        button = tag("button", str(count), type="button", data_pair=numbers[pair], aria_label=about)
    share = None if probability is None else tag("small", f"{probability:.1%}")
    return tag("td", button, share)


def overview(facts: TableFacts, task: str, rows: TableRows) -> list[tuple[str, str, Html]]:
    """Sections of the table as a whole: anchor, heading, content."""
    found = [("duplicates", "Duplicates", _duplicates(facts, task, rows))]
    if facts.warnings:
        sentences = [tag("li", sentence) for sentence in facts.warnings]
        found.append(("names", "Names that look alike", tag("ul", *sentences)))
    if facts.label_counts:
        found.append(("labels", "Labels", _label_counts(facts.label_counts)))
    return found


def _label_counts(counts: Mapping[str, int]) -> Html:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    largest = ordered[0][1]
    lines = [
        tag(
            "tr",
            _head(name, "row"),
            tag("td", f"{count:,}"),
            tag("td", tag("meter", value=count, max=largest, aria_hidden="true")),
        )
        for name, count in ordered[:MAX_LABELS]
    ]
    more = len(ordered) - MAX_LABELS
    left = tag("p", f"and {more:,} classes more, with fewer rows") if more > 0 else None
    head = tag("tr", *(tag("th", name, scope="col") for name in ("class", "rows", "")))
    return join(tag("div", tag("table", head, *lines), class_="wide"), left)


def _duplicates(facts: TableFacts, task: str, rows: TableRows) -> Html:
    found = facts.duplicates
    if found is None:
        return tag("p", f"Not looked for: {facts.left_out}.")
    if not found.num_groups:
        return tag("p", "No two rows have the same or nearly the same content.")
    allowance = Allowance(
        num_bytes=DUPLICATE_BYTES, num_items=len(found.groups), max_text=MAX_MEMBER_TEXT
    )
    groups = [_group(group, task, rows, allowance) for group in found.groups]
    return join(tag("p", _counted(found)), *groups)


def _counted(found: Duplicates) -> str:
    counts = f"{found.num_rows:,} rows form {found.num_groups:,} groups of the same or nearly the "
    counts += f"same content; the labels of {found.num_conflicting:,} groups differ."
    if len(found.groups) < found.num_groups:
        counts += f" The first {len(found.groups)} are shown."
    return counts


def _group(group: DuplicateGroup, task: str, rows: TableRows, allowance: Allowance) -> Html:
    alike = "the same" if group.is_exact else "nearly the same"
    labels = group.labels.most_common(MAX_OTHER_LABELS)
    counted = ", ".join(f"{_words(task, group.members[0], name)}: {n}" for name, n in labels)
    conflict = "labels differ: " if group.is_conflicting else "label "
    shown = group.members[:1] if group.is_exact else group.members
    members = [
        tag(
            "li",
            tag("bdi", cut(member.id, MAX_NAME)),
            f" ({_words(task, member, member.label)})",
            _content(task, member, rows, allowance) if member in shown and member.content else None,
        )
        for member in group.members
    ]
    return tag(
        "div",
        tag("h3", f"{group.num_rows} rows, {alike}"),
        tag("p", conflict, tag("bdi", cut(counted, MAX_MEMBER_TEXT))),
        tag("ul", *members),
        class_="group conflict" if group.is_conflicting else "group",
    )


def _words(task: str, member: Member, label: str) -> str:
    light = task_named(task)
    content = light.content_to_wire(member.content) if member.content else items_pb2.Content()
    item = items_pb2.Item(content=content)
    return cut(label_text(light.label_to_wire(label), item), MAX_NAME)


def _content(task: str, member: Member, rows: TableRows, allowance: Allowance) -> Html:
    light = task_named(task)
    item = Item(
        rank=0,
        id=member.id,
        unit="",
        suspicion=0.0,
        reason="",
        content=light.content_to_wire(member.content),
        label=labels_pb2.Label(),
        label_words="",
        suggestions=(),
        pair=None,
        kinds=(),
        num_copies=0,
    )
    return content_html(item, rows, allowance)
