"""`relabel serve` and `relabel token`: run the service, and mint its tokens for development."""

from pathlib import Path
from typing import Annotated

import typer

from relabel_service.server.auth import (
    DEFAULT_AUDIENCE,
    DEFAULT_ISSUER,
    LABELER,
    ROLES,
    AuthSettings,
    mint,
    read_secret,
)
from relabel_service.wire.names import campaign_id


def serve(
    queue: Annotated[
        str, typer.Option(help="SQLAlchemy URL of the queue database")
    ] = "sqlite:///relabel-queue.db",
    replicas: Annotated[int, typer.Option(help="more than 1 needs a PostgreSQL queue")] = 1,
    host: Annotated[str, typer.Option(help="address to bind for HTTP")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC port")] = 9000,
    http_port: Annotated[int, typer.Option(help="HTTP port: the page, and Connect calls")] = 8000,
    secret: Annotated[
        str, typer.Option(help="file of the secret that signs tokens", show_default=False)
    ] = "",
    public_key: Annotated[
        str, typer.Option(help="PEM file of the issuer's public key", show_default=False)
    ] = "",
    jwks: Annotated[
        str, typer.Option(help="URL of the issuer's public keys", show_default=False)
    ] = "",
    issuer: Annotated[str, typer.Option(help="whose tokens are taken")] = DEFAULT_ISSUER,
    audience: Annotated[str, typer.Option(help="for whom the tokens must be")] = DEFAULT_AUDIENCE,
    is_open: Annotated[
        bool, typer.Option("--open", help="accept everybody: a gateway authenticates")
    ] = False,
    media_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store whose files the page may show, where rows hold addresses; "
            "may be repeated"
        ),
    ] = None,
    table_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store whose tables admins may name, to be read and written; may be "
            "repeated; without it, any"
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="site whose pages may call over HTTP; may be repeated"),
    ] = None,
    export_to: Annotated[
        str, typer.Option(help="results table to which answers are exported", show_default=False)
    ] = "",
    export_every: Annotated[float, typer.Option(help="minutes between two exports")] = 10.0,
    retention_days: Annotated[
        float, typer.Option(help="delete campaigns so long after they were finalized; 0: never")
    ] = 0.0,
    heartbeat: Annotated[
        float, typer.Option(help="seconds between signs of life in a silent stream, up to 30")
    ] = 20.0,
    metrics_port: Annotated[
        int, typer.Option(help="port of the metrics for Prometheus, on all interfaces; 0: any")
    ] = 0,
    audit_log: Annotated[
        str,
        typer.Option(
            help="file of one JSON line for each change: who, method, campaign, outcome; without "
            "it they go to Ray's logs",
            show_default=False,
        ),
    ] = "",
    until_input_ends: Annotated[
        bool,
        typer.Option("--until-input-ends", help="stop when standard input ends, too"),
    ] = False,
) -> None:
    """Serve campaigns over gRPC and HTTP, and the page to label on, until interrupted.

    Without a key it accepts only callers on this machine.
    """
    from relabel_service.server.app import serve_until_stopped  # Ray only where it is needed
    from relabel_service.server.regular_exports import ExportSettings
    from relabel_service.server.settings import LOCAL_ONLY, OPEN, ServeSettings

    auth: AuthSettings | str = OPEN if is_open else LOCAL_ONLY
    if secret or public_key or jwks:
        auth = AuthSettings(
            secret_file=str(Path(secret).absolute()) if secret else "",
            public_key_file=str(Path(public_key).absolute()) if public_key else "",
            jwks=jwks,
            issuer=issuer,
            audience=audience,
        )
    settings = ServeSettings(
        queue_url=queue,
        num_replicas=replicas,
        auth=auth,
        media_prefixes=tuple(media_prefix or ()),
        table_prefixes=tuple(table_prefix or ()),
        cors_origins=tuple(cors_origin or ()),
        exports=ExportSettings(export_to, 60 * export_every),
        retention_days=retention_days,
        heartbeat_s=heartbeat,
        audit_log=audit_log,
    )
    serve_until_stopped(
        settings,
        host=host,
        port=port,
        http_port=http_port,
        metrics_port=metrics_port,
        until_input_ends=until_input_ends,
    )


def token(
    name: Annotated[str, typer.Option("--as", help="whom the token names", show_default=False)],
    secret: Annotated[
        str, typer.Option(help="file of the secret that signs tokens", show_default=False)
    ],
    role: Annotated[str, typer.Option(help=", ".join(ROLES))] = LABELER,
    campaign: Annotated[
        list[str] | None, typer.Option(help="may be repeated; without it, all campaigns")
    ] = None,
    table_prefix: Annotated[
        list[str] | None,
        typer.Option(help="under which an admin may name tables; may be repeated; without it, any"),
    ] = None,
    labeler: Annotated[
        list[str] | None,
        typer.Option(
            help="for whom a frontend may answer; may be repeated; * at the end: all that begin so"
        ),
    ] = None,
    hours: Annotated[float, typer.Option(help="how long it is valid")] = 12.0,
    issuer: Annotated[str, typer.Option(help="who gives it")] = DEFAULT_ISSUER,
    audience: Annotated[str, typer.Option(help="for which service")] = DEFAULT_AUDIENCE,
) -> None:
    """Mint a token, for development; in production the identity provider does."""
    minted = mint(
        read_secret(secret),
        name,
        role=role,
        campaigns=tuple(campaign_id(name, field="--campaign") for name in campaign or ()),
        table_prefixes=tuple(table_prefix or ()),
        labelers=tuple(labeler or ()),
        lifetime_s=3600 * hours,
        issuer=issuer,
        audience=audience,
    )
    print(minted)


def add_commands(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(token)
