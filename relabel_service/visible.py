"""Texts of others, as pages and terminals may show them.

Signs that would not be seen, or would turn the text around them (control characters, escapes,
bidirectional overrides, halves of surrogate pairs), are shown by their code points.
"""

import re

# Signs that show nothing, or change how what follows them is shown. Marks that set a direction
# without changing the text's (U+200E, U+200F) stay: right-to-left texts need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with signs that cannot be seen written as ⟨U+202E⟩; line breaks and tabs stay."""
    return _UNSEEN.sub(lambda sign: f"⟨U+{ord(sign[0]):04X}⟩", text.replace("\r\n", "\n"))
