"""HTML built by calls: what is not markup already is escaped, so that contents cannot become any.

Signs that would not be seen are shown by their code points (relabel_service/visible.py).
"""

from html import escape

from relabel_service.visible import visible

_VOID = frozenset({"input", "meta"})


class Html(str):
    """Markup, put into other markup as it is."""

    __slots__ = ()


def tag(
    element: str, /, *children: str | None, **attributes: str | int | float | bool | None
) -> Html:
    """An element. Children and attributes are escaped unless they are Html; None and False are
    left out. A trailing _ of an attribute's name is dropped, and other _ become hyphens."""
    opened = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escape(visible(str(value)))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = join(*children)
    return Html(f"<{element}{opened}>" + ("" if element in _VOID else f"{inside}</{element}>"))


def join(*children: str | None) -> Html:
    """Children one after the other; None is left out."""
    return Html(
        "".join(
            child if isinstance(child, Html) else escape(visible(child), quote=False)
            for child in children
            if child is not None
        )
    )


def cut(text: str, num_characters: int) -> str:
    """At most so many characters, with how many are left out behind them."""
    if len(text) <= num_characters:
        return text
    return f"{text[:num_characters]}… ({len(text) - num_characters:,} characters more)"
