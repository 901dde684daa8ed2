"""Who is calling and what they may do: JSON Web Tokens, roles and campaign scopes.

A caller's name is the token's subject and nothing else. Claims: sub, iss, aud and
exp are required; role is labeler (when left out), adjudicator, admin or frontend; campaigns,
a list of campaign ids, narrows the token to those; table_prefixes, a list of folders and stores,
those that an admin may have read and written.

A frontend labels for people who have no tokens of their own: it names one in each call
(ON_BEHALF_OF_KEY), among those of its claim labelers. The call is then that labeler's, in all that
counts by labeler, and the frontend is written down beside.

Without keys a service accepts only callers on its own machine, and believes the
name they send.
"""

import functools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import jwt

from relabel_service.errors import InvalidInput, PermissionDenied, Unauthenticated
from relabel_service.server.keys import FileKeys, FixedKeys, IssuerKeys, Keys
from relabel_service.wire.credentials import is_loopback
from relabel_service.wire.metadata import LABELER_KEY, ON_BEHALF_OF_KEY, TOKEN_KEY

DEFAULT_ISSUER = "relabel"
DEFAULT_AUDIENCE = "relabel-service"
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: a key as long as the hash
LEEWAY_S = 10.0  # clocks of issuer and service may differ by so much
MAX_NAME = 256
ONE_KEY_RULE = "set exactly one of secret_file, secret_env, public_key_file and jwks"
SECRET_HINT = "make one with (umask 077; openssl rand -hex 32 > FILE)"

SHARED = ("HS256", "HS384", "HS512")
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")

# What gateways add to the calls that they pass on.
PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

LABELER, ADJUDICATOR, ADMIN, FRONTEND = "labeler", "adjudicator", "admin", "frontend"
ROLES = (LABELER, ADJUDICATOR, ADMIN, FRONTEND)
LABELING = frozenset({LABELER, ADJUDICATOR})
EVERYBODY = frozenset(ROLES)
ANYBODY = "*"  # ends a name in the claim labelers that stands for all that begin so

# Who may call what. A test holds that every RPC is here.
ALLOWED: dict[str, frozenset[str]] = {
    "CreateCampaign": frozenset({ADMIN}),
    "GetCampaign": EVERYBODY,
    "ListCampaigns": EVERYBODY,
    "LeaseItems": LABELING,
    "StreamLeases": LABELING,
    "ReadItem": LABELING,
    "ListLeases": LABELING,
    "ExtendLeases": LABELING,
    "ReleaseLeases": LABELING,
    "SubmitResults": LABELING,
    "GetCampaignStats": EVERYBODY,
    "WatchCampaign": EVERYBODY,
    "PauseCampaign": frozenset({ADMIN}),
    "ResumeCampaign": frozenset({ADMIN}),
    "CloseCampaign": frozenset({ADMIN}),
    "ReopenCampaign": frozenset({ADMIN}),
    "ReopenItems": frozenset({ADMIN}),
    "RequeueSkippedItems": frozenset({ADMIN}),
    "FinalizeCampaign": frozenset({ADMIN}),
    "ExportAnswers": frozenset({ADMIN}),
    "DeleteCampaign": frozenset({ADMIN}),
    "ForceRelease": frozenset({ADMIN}),
    "ListAdminActions": frozenset({ADMIN}),
}


@dataclass(frozen=True)
class Caller:
    """Who calls. roles: all that the caller may act in; campaigns: ids, None for every one.

    labelers: for whom a frontend may answer: names, or their beginnings before ANYBODY. via: the
    frontend that makes the call, where one answers for this labeler.
    """

    name: str
    roles: frozenset[str] = frozenset({LABELER})
    campaigns: frozenset[str] | None = None
    table_prefixes: tuple[str, ...] | None = None
    """Under which addresses the caller may have tables read and written; None for any."""
    expires_at: float | None = field(default=None, compare=False)
    """When the token ends that says so, in seconds since 1970."""
    labelers: tuple[str, ...] = ()
    via: str = ""

    def may_see(self, campaign: str) -> bool:
        return self.campaigns is None or campaign in self.campaigns

    def may_answer_for(self, labeler: str) -> bool:
        return any(
            labeler.startswith(name[: -len(ANYBODY)]) if name.endswith(ANYBODY) else labeler == name
            for name in self.labelers
        )


@dataclass(frozen=True)
class AuthSettings:
    """How tokens are verified: by exactly one of the four sources of a key.

    secret_file, or the environment's variable secret_env, holds the secret that signs
    and verifies (HS256 and kin). public_key_file: PEM of the issuer's public key.
    jwks: URL of the issuer's keys. There may be several secrets, one a line (the first signs), and
    several keys in a file; a changed file is read again.
    """

    secret_file: str = ""
    secret_env: str = ""
    public_key_file: str = ""
    jwks: str = ""
    issuer: str = DEFAULT_ISSUER
    audience: str = DEFAULT_AUDIENCE
    max_lifetime_s: float = 0.0
    """Tokens that are valid for longer from now on are refused; 0: none is."""
    require_campaigns: bool = False
    """Whether tokens of labelers, adjudicators and frontends must name their campaigns."""

    def __post_init__(self) -> None:
        if not self.max_lifetime_s >= 0:
            raise InvalidInput.of(
                "auth.max_lifetime_s", f"{self.max_lifetime_s} is below 0; use 0 for no limit"
            )
        sources = [self.secret_file, self.secret_env, self.public_key_file, self.jwks]
        if sum(map(bool, sources)) != 1:
            raise InvalidInput.of("auth", f"names {sum(map(bool, sources))} keys; {ONE_KEY_RULE}")


class Authenticator(Protocol):
    """Finds out who a call comes from. may_block: whether that may wait, for an issuer's keys."""

    may_block: bool

    def caller(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """Raises Unauthenticated."""


class TokenAuthenticator:
    """Callers prove who they are with a signed token."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        shared = settings.secret_file or settings.secret_env
        self._algorithms = SHARED if shared else PUBLIC
        self._keys = _keys(settings)
        self.may_block = bool(settings.jwks)

    def caller(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """Raises Unavailable, too: while the issuer's keys cannot be had."""
        scheme, _, token = metadata.get(TOKEN_KEY, "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                f"call metadata has no {TOKEN_KEY}: Bearer <token>; get a token from your admin"
            )
        try:
            claims = self._verified(token)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not valid ({error}); get a new one") from error
        caller = _caller(claims)
        self._check_settings(caller)
        return caller

    def _verified(self, token: str) -> Mapping[str, Any]:
        failure: jwt.PyJWTError = jwt.InvalidSignatureError("none of the issuer's keys signed it")
        for key in self._keys.of(token):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=self._algorithms,
                    audience=self._settings.audience,
                    issuer=self._settings.issuer,
                    leeway=LEEWAY_S,
                    options={"require": ["exp", "sub", "iss", "aud"]},
                )
            except (jwt.DecodeError, jwt.InvalidKeyError, jwt.InvalidAlgorithmError) as error:
                failure = error  # another key may have signed it
        raise failure

    def _check_settings(self, caller: Caller) -> None:
        longest_s = self._settings.max_lifetime_s
        left_s = (caller.expires_at or 0.0) - time.time()
        if longest_s and left_s > longest_s + LEEWAY_S:
            raise Unauthenticated(
                f"the token is valid for {left_s:.0f} s, and at most {longest_s:g} s are taken; "
                "get one that ends sooner"
            )
        if (
            self._settings.require_campaigns
            and caller.campaigns is None
            and (caller.roles & {*LABELING, FRONTEND})
        ):
            raise Unauthenticated(
                "the token names no campaigns, which this service requires of labelers; get one "
                "whose campaigns claim lists them"
            )


class LocalAuthenticator:
    """No keys: believes callers on this machine, refuses all others."""

    may_block = False

    def caller(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """A gateway on this machine passes on callers from elsewhere, and says so in headers; a
        page of another site, whose name somebody has pointed at this machine, has that name as
        host: neither is a caller on this machine."""
        is_passed_on = any(key in metadata for key in PASSED_ON)
        host = urlsplit(f"//{metadata.get('host', 'localhost')}").hostname or ""
        if not is_loopback(_host(peer)) or is_passed_on or not is_loopback(host):
            raise Unauthenticated(
                "this service has no keys, so it accepts only callers on its own machine; "
                "start it with an auth key"
            )
        return replace(named_caller(metadata), labelers=(ANYBODY,))


class OpenAuthenticator:
    """No keys, and open to everybody, as behind a gateway that sets who is calling.

    Nobody answers for others: a gateway that knows nothing of ON_BEHALF_OF_KEY lets it pass from
    anybody.
    """

    may_block = False

    def caller(self, metadata: Mapping[str, str], peer: str) -> Caller:
        return named_caller(metadata)


def named_caller(metadata: Mapping[str, str]) -> Caller:
    """The caller that the metadata names, in every role."""
    name = metadata.get(LABELER_KEY, "")
    if not 0 < len(name) <= MAX_NAME:
        raise Unauthenticated(
            f"call metadata has no {LABELER_KEY} of up to {MAX_NAME} characters; "
            "send who is labeling"
        )
    return Caller(name, EVERYBODY)


def on_behalf_of(metadata: Mapping[str, str]) -> str:
    """The labeler for whom a frontend says it calls; empty where it says nothing."""
    return unquote(metadata.get(ON_BEHALF_OF_KEY, ""))


def answering_for(caller: Caller, labeler: str) -> Caller:
    """The labeler, by way of the caller; the caller itself where labeler is empty.

    Raises PermissionDenied where the caller may not answer for that labeler.
    """
    if not labeler:
        return caller
    if FRONTEND not in caller.roles:
        raise PermissionDenied(
            f"{caller.name!r} is {' and '.join(sorted(caller.roles))}, and only a frontend answers "
            f"for others; leave {ON_BEHALF_OF_KEY} out, or ask with a frontend's token"
        )
    if not (len(labeler) <= MAX_NAME and "\x00" not in labeler):
        raise PermissionDenied(
            f"{ON_BEHALF_OF_KEY} is not a name of up to {MAX_NAME} characters; send the labeler's"
        )
    if not caller.may_answer_for(labeler):
        raise PermissionDenied(
            f"{caller.name!r} may not answer for {labeler!r}; ask with a token whose labelers name "
            "that person"
        )
    return replace(caller, name=labeler, roles=frozenset({LABELER}), labelers=(), via=caller.name)


def check_allowed(caller: Caller, method: str, campaign: str) -> None:
    """Raises PermissionDenied. campaign: the id that the request is about, empty for none."""
    if not caller.roles & ALLOWED[method]:
        if caller.roles == {FRONTEND} and LABELER in ALLOWED[method]:
            raise PermissionDenied(
                f"{method} is a labeler's, and {caller.name!r} is a frontend; name the labeler in "
                f"the call's metadata ({ON_BEHALF_OF_KEY})"
            )
        raise PermissionDenied(
            f"{method} is for {' or '.join(sorted(ALLOWED[method]))}, and {caller.name!r} is "
            f"{' and '.join(sorted(caller.roles))}; ask with another token"
        )
    if campaign and not caller.may_see(campaign):
        raise PermissionDenied(
            f"{caller.name!r} has no access to campaign {campaign!r}; ask with a token whose "
            "campaigns name it"
        )


def mint(
    secret: bytes,
    name: str,
    *,
    role: str = LABELER,
    campaigns: tuple[str, ...] = (),
    table_prefixes: tuple[str, ...] = (),
    labelers: tuple[str, ...] = (),
    lifetime_s: float,
    issuer: str = DEFAULT_ISSUER,
    audience: str = DEFAULT_AUDIENCE,
) -> str:
    """A token that TokenAuthenticator takes, for development and tests.

    campaigns, table_prefixes: empty for all. labelers: a frontend's, see Caller; required of it.
    """
    if role not in ROLES:
        raise InvalidInput.of("role", f"{role!r} is not a role; use one of {', '.join(ROLES)}")
    if (role == FRONTEND) != bool(labelers):
        raise InvalidInput.of(
            "labelers",
            f"goes with the role {FRONTEND}, and is required there; name for whom it may answer "
            f"({ANYBODY} for anybody)",
        )
    now = time.time()
    claims: dict[str, Any] = {
        "sub": name, "iss": issuer, "aud": audience, "role": role,
        "iat": int(now), "exp": int(now + lifetime_s),
    }  # fmt: skip
    if campaigns:
        claims["campaigns"] = list(campaigns)
    if table_prefixes:
        claims["table_prefixes"] = list(table_prefixes)
    if labelers:
        claims["labelers"] = list(labelers)
    return jwt.encode(claims, secret, algorithm=SHARED[0])


def read_secret(path: str) -> bytes:
    """The one that signs. Raises InvalidInput when the file is missing or a secret too short."""
    return _secrets("auth.secret_file", path, _read("auth.secret_file", path))[0]


def _keys(settings: AuthSettings) -> Keys:
    if settings.jwks:
        return IssuerKeys(settings.jwks)
    if settings.secret_env:
        value = os.environ.get(settings.secret_env, "").encode()
        return FixedKeys(_secrets("auth.secret_env", settings.secret_env, value))
    name = "secret_file" if settings.secret_file else "public_key_file"
    setting, path = f"auth.{name}", getattr(settings, name)
    _read(setting, path)  # a sentence where that fails
    parse = _secrets if settings.secret_file else _public_keys
    return FileKeys(path, functools.partial(parse, setting, path))


def _read(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or "is not a file"
        raise InvalidInput.of(
            field, f"{path!r} cannot be read ({reason}); {SECRET_HINT}"
        ) from error


def _secrets(field: str, name: str, contents: bytes) -> list[bytes]:
    """One a line, at least one."""
    secrets = [line for line in map(bytes.strip, contents.splitlines()) if line] or [b""]
    for secret in secrets:
        if len(secret) < MIN_SECRET_BYTES:
            raise InvalidInput.of(
                field,
                f"{name!r} holds {len(secret)} bytes, and {MIN_SECRET_BYTES} or more are needed in "
                f"a line; {SECRET_HINT}",
            )
    return secrets


def _public_keys(field: str, name: str, contents: bytes) -> list[bytes]:
    keys = re.findall(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", contents, re.DOTALL)
    if not keys:
        raise InvalidInput.of(field, f"{name!r} holds no key in PEM; name the issuer's public key")
    return keys


def _host(peer: str) -> str:
    """gRPC's "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000" without kind and port."""
    _, _, address = peer.partition(":")
    host, _, _ = address.rpartition(":")
    return host.replace("%5B", "").replace("%5D", "").strip("[]")


def _caller(claims: Mapping[str, Any]) -> Caller:
    role, campaigns = claims.get("role", LABELER), claims.get("campaigns")
    if role not in ROLES:
        raise Unauthenticated(f"the token's role {role!r} is none of {', '.join(ROLES)}")
    if not _is_list_of_texts(campaigns):
        raise Unauthenticated("the token's campaigns are not a list of campaign ids")
    tables = claims.get("table_prefixes")
    if not _is_list_of_texts(tables):
        raise Unauthenticated("the token's table_prefixes are not a list of addresses")
    labelers = claims.get("labelers")
    if not _is_list_of_texts(labelers) or (role == FRONTEND and not labelers):
        raise Unauthenticated(
            "the token's labelers are not a list of names, which a frontend's must have"
        )
    name = claims["sub"]
    if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME and "\x00" not in name):
        raise Unauthenticated(f"the token's subject is not a name of up to {MAX_NAME} characters")
    scope = None if campaigns is None else frozenset(campaigns)
    prefixes = None if tables is None else tuple(tables)
    return Caller(
        name=name,
        roles=frozenset({role}),
        campaigns=scope,
        table_prefixes=prefixes,
        expires_at=float(claims["exp"]),
        labelers=tuple(labelers or ()) if role == FRONTEND else (),
    )


def _is_list_of_texts(claim: Any) -> bool:
    """Or left out."""
    return claim is None or (
        isinstance(claim, list) and all(isinstance(each, str) for each in claim)
    )
