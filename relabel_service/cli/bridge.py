"""`relabel bridge`: other frontends than the page and the terminal."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from relabel_service.cli.connection import LOCAL, Address
from relabel_service.client import Client
from relabel_service.errors import InvalidInput

EXTRA = "pip install 'relabel-service[bridge]'"


def label_studio(
    context: typer.Context,
    campaign: Annotated[
        str, typer.Option(help="its id, with or without campaigns/ before it", show_default=False)
    ],
    labeler: Annotated[
        list[str] | None,
        typer.Option(
            help="who labels: NAME where the service has no keys, or RELABEL_TOKEN is a "
            "frontend's; NAME=FILE with the file of a token of its own; again for more",
            show_default=False,
        ),
    ] = None,
    adjudicator: Annotated[
        list[str] | None,
        typer.Option(
            help="who decides what labelers escalated or do not agree on: NAME where the service "
            "has no keys, else NAME=FILE with the file of an adjudicator's token; again for more",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="LABEL_STUDIO_URL", help="Label Studio's address")
    ] = "http://localhost:8080",
    token: Annotated[
        str,
        typer.Option(
            envvar="LABEL_STUDIO_API_KEY",
            help="Label Studio's: a personal access token, or a legacy one",
            show_default=False,
        ),
    ] = "",
    window: Annotated[int, typer.Option(help="tasks that wait for a labeler at most")] = 20,
    lease_duration: Annotated[
        float, typer.Option(help="seconds a lease lasts; extended while its task waits")
    ] = 3600.0,
    absent_after: Annotated[
        float,
        typer.Option(
            help="seconds without an annotation or draft, after which a labeler's tasks go to "
            "others; 0 for never"
        ),
    ] = 4 * 3600.0,
    poll: Annotated[float, typer.Option(help="seconds between two looks at Label Studio")] = 2.0,
    poll_min: Annotated[
        float, typer.Option(help="seconds between two looks at least, where hints come")
    ] = 0.2,
    listen: Annotated[
        str,
        typer.Option(
            help="HOST:PORT to take Label Studio's webhooks at, as hints to look sooner than "
            "--poll says",
            show_default=False,
        ),
    ] = "",
    webhook_url: Annotated[
        str,
        typer.Option(
            help="address at which Label Studio reaches --listen; http://HOST:PORT when left out",
            show_default=False,
        ),
    ] = "",
    media_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store under which addresses of pictures and sounds are opened; again "
            "for more; none is when left out",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="one round, instead of until the end")
    ] = False,
    address: Address = LOCAL,
) -> None:
    """Hand a campaign to people in Label Studio, a project each, until it is closed."""
    try:
        from relabel_service.bridge.hints import Listen, Pace
        from relabel_service.bridge.label_studio import Bridge, Labeler
        from relabel_service.bridge.label_studio_api import LabelStudioApi
        from relabel_service.bridge.labeler import Settings
        from relabel_service.bridge.media import media_under
    except ModuleNotFoundError as error:
        raise InvalidInput.of(
            "bridge", f"needs {error.name}, which is not installed; {EXTRA}"
        ) from None

    if webhook_url and not listen:
        raise InvalidInput.of("--webhook-url", "needs --listen; say where hints are taken, too")
    if listen and once:
        raise InvalidInput.of("--listen", "is of no use with --once; leave one of the two out")
    if poll > lease_duration / 3:
        raise InvalidInput.of(
            "--poll",
            f"{poll:g} s is more than a third of --lease-duration, {lease_duration:g} s; give "
            "less: leases are extended when the bridge looks",
        )
    people = [Labeler(*_labeler("--labeler", one, address, context.obj)) for one in labeler or ()]
    for one in adjudicator or ():
        if context.obj["token"] and "=" not in one:
            raise InvalidInput.of(
                "--adjudicator",
                f"{one!r} has no file of a token, and a frontend's answers for labelers alone; "
                "give NAME=FILE",
            )
        adjudicating = _labeler("--adjudicator", one, address, context.obj)
        people.append(Labeler(*adjudicating, adjudicates=True))
    _check_names([one.name for one in people])
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    bridge = Bridge(
        campaign,
        people,
        lambda: LabelStudioApi(url, token),
        Settings(window, lease_duration, media_under(tuple(media_prefix or ())), absent_after),
        Pace(poll, min(poll, poll_min)),
        lambda line: print(line, flush=True),
        Listen.of(listen, webhook_url) if listen else None,
    )
    bridge.run(stop, once=once)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise InvalidInput.of("--labeler", "is not given, nor --adjudicator; name who labels")
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput.of(
                "--labeler",
                f"{name!r} is named twice; name each person once, as labeler or as adjudicator",
            )


def _labeler(
    option: str, text: str, address: str, connection: Mapping[str, Any]
) -> tuple[str, Callable[[], AbstractContextManager[Client]]]:
    """Name and a way to connect, which reads the token's file anew each time."""
    name, has_file, file = text.partition("=")
    if not name or (has_file and not file):
        raise InvalidInput.of(option, f"{text!r} is not NAME or NAME=FILE; give both")
    options = {key: value for key, value in connection.items() if key != "on_behalf_of"}

    @contextmanager
    def connect() -> Iterator[Client]:
        token = _token(option, file) if has_file else options["token"]
        with Client(address, **{**options, "labeler": name, "token": token}) as client:
            yield client.on_behalf_of(name) if token and not has_file else client

    return name, connect


def _token(option: str, file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise InvalidInput.of(option, f"{file!r} cannot be read ({error})") from None


def add_commands(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    group.callback()(_group)
    group.command("label-studio")(label_studio)
    app.add_typer(group, name="bridge")


def _group() -> None:
    """Let people label in another frontend."""
