"""One page of a run's findings that needs no network: items, filters, the table as a whole.

Everything in it is written here: item contents as escaped text, pictures and sounds decoded and
written anew. Should that ever fail, a policy in its head lets nothing but its own script run and
nothing be fetched.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources

import pyarrow as pa

from cluster.report import sections
from cluster.report.contents import Allowance, content_html, labels_html
from cluster.report.facts import table_facts
from cluster.report.items import Item, read_items
from cluster.report.markup import Html, cut, join, tag
from cluster.report.rows import TableRows

MAX_ITEMS = 1_000
MAX_ITEM_BYTES = 3_600_000  # of all items
MEDIA_BYTES = 2_400_000  # of all pictures and sounds among them
LEAST_TEXT, MOST_TEXT, ALL_TEXT = 400, 4_000, 1_000_000  # characters of one content, and of all
MAX_REASON = 600


def page(
    findings: pa.Table, rows: TableRows, *, title: str, command: str, num_items: int = MAX_ITEMS
) -> str:
    """The page as text. See cluster.report.write."""
    num_shown = min(num_items, findings.num_rows)
    texts = min(max(ALL_TEXT // max(num_shown, 1), LEAST_TEXT), MOST_TEXT)
    allowance = Allowance(num_bytes=MEDIA_BYTES, num_items=num_shown, max_text=texts)
    filters, entries = Filters(), list[Html]()
    num_bytes = 0
    for item in read_items(findings, num_items=num_shown):
        entry = item_html(item, rows, allowance, filters)
        num_bytes += len(entry.encode())
        if num_bytes > MAX_ITEM_BYTES:
            break
        entries.append(entry)
    overview = (
        sections.overview(table_facts(rows), findings["task"][0].as_py(), rows) if num_shown else []
    )
    num_findings = findings.num_rows if rows.mined is None else rows.mined.num_findings
    body = join(
        tag("h1", title),
        sections.summary(rows, num_findings=num_findings, num_shown=len(entries)),
        sections.next_step(command),
        tag(
            "nav",
            tag("a", "Items", href="#items"),
            sections.matrix_link(filters.pairs),
            *(tag("a", heading, href=f"#{name}") for name, heading, _ in overview),
            aria_label="Sections",
        ),
        _items_section(entries, filters),
        sections.matrix(rows.mined, filters.pairs, filters.number_of("pair")),
        *(
            tag("section", tag("h2", heading), content, id=name)
            for name, heading, content in overview
        ),
    )
    return document(title, body)


def items_html(
    findings: pa.Table, rows: TableRows, *, num_items: int, media_bytes: int = MEDIA_BYTES
) -> Html:
    """The worst items as a list without filters, for other pages; `style` is theirs to include."""
    num_shown = min(num_items, findings.num_rows)
    allowance = Allowance(num_bytes=media_bytes, num_items=num_shown, max_text=LEAST_TEXT)
    items = read_items(findings, num_items=num_shown)
    entries = [item_html(item, rows, allowance, Filters()) for item in items]
    return join(sections.legend(), tag("ol", *entries, class_="items"))


class Filters:
    """What items can be filtered by: the values of each filter, and how many items have each."""

    NAMES: Mapping[str, str] = {"pair": "Given → model", "unit": "About", "kind": "Reason"}

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in self.NAMES}
        self.pairs: Counter[tuple[str, str]] = Counter()
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in self.NAMES}

    def add(self, item: Item) -> dict[str, str]:
        """Count the item; the attributes by which the page's script finds it."""
        if item.pair:
            self.pairs[item.pair] += 1
        values = {
            "pair": [pair_name(item.pair)] if item.pair else [],
            "unit": [item.unit] if item.unit else [],
            "kind": list(item.kinds),
        }
        for name, of_item in values.items():
            self.counts[name].update(of_item)
        return {
            f"data-{name}": " ".join(str(self._number(name, value)) for value in of_item)
            for name, of_item in values.items()
            if of_item
        }

    def number_of(self, name: str) -> Mapping[str, int]:
        return self._numbers[name]

    def _number(self, name: str, value: str) -> int:
        return self._numbers[name].setdefault(value, len(self._numbers[name]))


def pair_name(pair: tuple[str, str]) -> str:
    return f"{pair[0]} → {pair[1]}"


def item_html(item: Item, rows: TableRows, allowance: Allowance, filters: Filters) -> Html:
    """One entry of the list of items."""
    unit = tag("span", "about ", tag("bdi", item.unit)) if item.unit else None
    copies = f"and {item.num_copies} more rows of the same content and label"
    return tag(
        "li",
        tag(
            "header",
            tag("h3", f"{item.rank + 1}. ", tag("bdi", cut(item.id, 200))),
            unit,
            tag("span", f"suspicion {item.suspicion:.2f}", class_="soft"),
            tag("span", copies, class_="soft") if item.num_copies else None,
        ),
        tag("div", content_html(item, rows, allowance)),
        tag(
            "div",
            labels_html(item, allowance),
            tag("p", cut(item.reason, MAX_REASON), class_="reason") if item.reason else None,
        ),
        tabindex="-1",
        **filters.add(item),
    )


def _items_section(entries: Sequence[Html], filters: Filters) -> Html:
    if not entries:
        return tag("section", tag("h2", "Items", id="items"), tag("p", "There are no findings."))
    selects = [
        _select(name, heading, filters.counts[name], filters.number_of(name))
        for name, heading in Filters.NAMES.items()
        if len(filters.counts[name]) > 1 or (name == "pair" and filters.counts[name])
    ]
    return tag(
        "section",
        tag("h2", "Items, the worst first", id="items", tabindex="-1"),
        sections.legend(),
        tag(
            "form",
            *selects,
            tag("label", "Words in it", tag("input", type="search", name="words")),
            tag("button", "Show all", type="reset"),
            tag("output", "", id="status", aria_live="polite"),
            class_="filters",
            hidden=True,
            aria_label="Filter the items",
        ),
        tag("ol", *entries, class_="items"),
        tag("button", "Show more", type="button", class_="more", hidden=True),
    )


def _select(name: str, heading: str, counts: Counter[str], numbers: Mapping[str, int]) -> Html:
    options = [
        tag("option", f"{cut(value, 80)} ({count})", value=numbers[value])
        for value, count in counts.most_common()
    ]
    return tag("label", heading, tag("select", tag("option", "all", value=""), *options, name=name))


def document(title: str, body: Html) -> str:
    """A whole page; its policy allows its own script and style alone."""
    sheet, script = style(), Html(_asset("page.js"))
    policy = (
        "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(sheet)}'; script-src '{_digest(script)}'"
    )
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        Html(f"<style>{sheet}</style>"),
    )
    main = join(tag("main", body), Html(f"<script>{script}</script>"))
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', main), lang='en')}\n"


def style() -> Html:
    """The style sheet of pages of items."""
    return Html(_asset("page.css"))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _digest(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
