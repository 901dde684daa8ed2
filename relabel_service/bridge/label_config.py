"""The labeling configuration of a campaign's projects: what is shown, what is asked, what may be
said beside a label."""

from collections.abc import Sequence

from relabel_service.errors import InvalidInput
from relabel_service.tools.label_studio_controls import CONTENT, CONTENTS, CONTROLS, Control

# Keys of a task's data.
ASK, NOTE = "relabel_ask", "relabel_note"
ESCALATE, COMMENT = "relabel_escalate", "relabel_comment"  # controls' names
ESCALATED = "Escalate: an adjudicator decides"
BY_HAND = ("text", "image", "audio")  # kinds of content that people are asked about


def control_of(task: str) -> Control:
    """Raises InvalidInput for tasks that nobody labels by hand."""
    control = CONTROLS.get(task)
    if control is None or control.shows not in BY_HAND:
        raise InvalidInput.of(
            "campaign", f"its task is {task}, which Label Studio has no control for; use another"
        )
    return control


def label_config(control: Control, classes: Sequence[str]) -> str:
    """As XML; every task's data must have ASK, NOTE, and a key named as what the control shows.

    Raises InvalidInput as Control.config.
    """
    return (
        "<View>"
        f'<Header value="${NOTE}" size="4"/>'
        f'<Header value="${ASK}" size="5"/>'
        f"{control.config(classes)}"
        f'<{CONTENTS[control.shows]} value="${control.shows}"/>'
        f'<Choices name="{ESCALATE}" toName="{CONTENT}" choice="multiple" showInline="true">'
        f'<Choice value="{ESCALATED}"/></Choices>'
        f'<TextArea name="{COMMENT}" toName="{CONTENT}" placeholder="Comment" rows="1" '
        'maxSubmissions="1" editable="true"/>'
        "</View>"
    )
