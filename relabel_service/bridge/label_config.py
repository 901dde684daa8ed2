"""The labeling configuration of a campaign's projects: what is shown, what is asked, what may be
said beside a label."""

from collections.abc import Sequence

from relabel_service.bridge.controls import CONTENT, Control
from relabel_service.errors import InvalidInput

# Keys of a task's data.
ASK, NOTE = "relabel_ask", "relabel_note"
ESCALATE, COMMENT = "relabel_escalate", "relabel_comment"  # controls' names
ESCALATED = "Escalate: an adjudicator decides"

CONTENTS = {
    "text": f'<Text name="{CONTENT}" value="$text" valueType="text"/>',
    "image": f'<Image name="{CONTENT}" value="$image" zoom="true"/>',
    "audio": f'<Audio name="{CONTENT}" value="$audio"/>',
}


def label_config(control: Control, classes: Sequence[str]) -> str:
    """As XML; every task's data must have ASK, NOTE, and a key named as what the control shows.

    Raises InvalidInput for classes that Label Studio would not show as they are.
    """
    for name in classes:
        if name.startswith("$"):
            raise InvalidInput.of(
                "campaign",
                f"its class {name!r} begins with $, which Label Studio takes for a key of the "
                "task's data; have this campaign labeled on the page",
            )
    return (
        "<View>"
        f'<Header value="${NOTE}" size="4"/>'
        f'<Header value="${ASK}" size="5"/>'
        f"{control.config(classes)}"
        f"{CONTENTS[control.shows]}"
        f'<Choices name="{ESCALATE}" toName="{CONTENT}" choice="multiple" showInline="true">'
        f'<Choice value="{ESCALATED}"/></Choices>'
        f'<TextArea name="{COMMENT}" toName="{CONTENT}" placeholder="Comment" rows="1" '
        'maxSubmissions="1" editable="true"/>'
        "</View>"
    )
