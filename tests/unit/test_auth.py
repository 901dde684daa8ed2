"""Who may call: tokens, roles and scopes, and what is believed without keys."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from relabel_service.cli import main as cli
from relabel_service.errors import InvalidInput, PermissionDenied, Unauthenticated
from relabel_service.server.auth import (
    ADMIN,
    ALLOWED,
    LABELER,
    ROLES,
    AuthSettings,
    Caller,
    LocalAuthenticator,
    TokenAuthenticator,
    check_allowed,
    mint,
)
from relabel_service.v1 import relabel_service_pb2 as rpc
from relabel_service.wire.metadata import LABELER_KEY

SECRET = "s" * 32
PEER = "ipv4:192.0.2.1:5000"


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return str(path)


@pytest.fixture
def authenticator(secret_file: str) -> TokenAuthenticator:
    return TokenAuthenticator(AuthSettings(secret_file=secret_file))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def claims(**other: Any) -> dict[str, Any]:
    required = {"sub": "ann", "iss": "relabel", "aud": "relabel-service", "exp": time.time() + 60}
    return {name: value for name, value in (required | other).items() if value is not None}


def test_a_token_names_its_caller_role_and_campaigns(authenticator: TokenAuthenticator) -> None:
    token = mint(SECRET.encode(), "ann", role=ADMIN, campaigns=("a", "b"), lifetime_s=60)
    caller = authenticator.caller(bearer(token) | {LABELER_KEY: "somebody else"}, PEER)
    assert caller == Caller("ann", frozenset({ADMIN}), frozenset({"a", "b"}))


@pytest.mark.parametrize(
    "broken",
    [
        {"exp": 1_000_000_000},  # 2001
        {"exp": None},
        {"iss": "another"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\x00b"},
        {"sub": "x" * 300},
        {"nbf": 32_503_680_000},  # 3000
        {"role": "owner"},
        {"campaigns": "all"},
        {"campaigns": [1]},
    ],
    ids=str,
)
def test_a_token_that_breaks_a_rule_is_refused(
    authenticator: TokenAuthenticator, broken: dict[str, Any]
) -> None:
    token = jwt.encode(claims(**broken), SECRET, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        authenticator.caller(bearer(token), PEER)


def test_forged_tokens_are_refused(authenticator: TokenAuthenticator) -> None:
    for token in (
        jwt.encode(claims(), "t" * 32, algorithm="HS256"),
        jwt.encode(claims(), "", algorithm="none"),
        "rubbish",
        "",
    ):
        with pytest.raises(Unauthenticated):
            authenticator.caller(bearer(token), PEER)
    with pytest.raises(Unauthenticated):
        authenticator.caller({LABELER_KEY: "ann"}, PEER)


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_a_public_key_verifies_and_cannot_be_turned_into_a_secret(
    tmp_path: Path, private_key: rsa.RSAPrivateKey
) -> None:
    pem = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key.pem").write_bytes(pem)
    authenticator = TokenAuthenticator(AuthSettings(public_key_file=str(tmp_path / "key.pem")))
    token = jwt.encode(claims(), private_key, algorithm="RS256")
    assert authenticator.caller(bearer(token), PEER) == Caller("ann", frozenset({LABELER}))
    confused = jwt.api_jws.PyJWS()
    confused._algorithms["HS256"].prepare_key = lambda key: key  # type: ignore[method-assign]
    forged = confused.encode(json.dumps(claims()).encode(), pem, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        authenticator.caller(bearer(forged), PEER)


def test_keys_come_from_the_issuers_address(private_key: rsa.RSAPrivateKey) -> None:
    algorithm = jwt.algorithms.RSAAlgorithm
    key = json.loads(algorithm.to_jwk(private_key.public_key())) | {"kid": "one", "use": "sig"}
    body = json.dumps({"keys": [key]}).encode()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        jwks = f"http://127.0.0.1:{server.server_port}/keys"
        authenticator = TokenAuthenticator(AuthSettings(jwks=jwks))
        signed = jwt.encode(claims(), private_key, algorithm="RS256", headers={"kid": "one"})
        assert authenticator.caller(bearer(signed), PEER).name == "ann"
        unknown = jwt.encode(claims(), private_key, algorithm="RS256", headers={"kid": "two"})
        with pytest.raises(Unauthenticated):
            authenticator.caller(bearer(unknown), PEER)
        server.shutdown()


@pytest.mark.parametrize(
    "peer",
    ["ipv4:127.0.0.1:5000", "ipv6:[::1]:5000", "ipv6:%5B::1%5D:5000", "ipv6:[::ffff:127.0.0.1]:1"],
)
def test_without_keys_callers_on_this_machine_are_believed(peer: str) -> None:
    assert LocalAuthenticator().caller({LABELER_KEY: "ann"}, peer).name == "ann"


@pytest.mark.parametrize(
    "peer", [PEER, "ipv6:[2001:db8::1]:5000", "unix:/tmp/x", "", "ipv4:1270.0.1"]
)
def test_without_keys_nobody_else_is(peer: str) -> None:
    with pytest.raises(Unauthenticated, match="no keys"):
        LocalAuthenticator().caller({LABELER_KEY: "ann"}, peer)


def test_every_rpc_says_who_may_call_it() -> None:
    methods = {method.name for method in rpc.DESCRIPTOR.services_by_name["RelabelService"].methods}
    assert set(ALLOWED) == methods


@pytest.mark.parametrize("method", ALLOWED)
def test_roles_and_scopes_are_kept(method: str) -> None:
    for role in ROLES:
        caller = Caller("ann", frozenset({role}), frozenset({"mine"}))
        if role in ALLOWED[method]:
            check_allowed(caller, method, "mine")
            with pytest.raises(PermissionDenied, match="'other'"):
                check_allowed(caller, method, "other")
        else:
            with pytest.raises(PermissionDenied, match=method):
                check_allowed(caller, method, "mine")


def test_keys_are_named_exactly_once_and_are_long_enough(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [{}, {"secret_file": "a", "jwks": "b"}]
    for settings in wrong:
        with pytest.raises(InvalidInput, match="exactly one"):
            AuthSettings(**settings)
    (tmp_path / "short").write_text("secret")
    for name in ("short", "missing"):
        with pytest.raises(InvalidInput, match="openssl"):
            TokenAuthenticator(AuthSettings(secret_file=str(tmp_path / name)))


def test_the_command_mints_tokens_that_are_taken(
    authenticator: TokenAuthenticator, secret_file: str
) -> None:
    arguments = ["token", "--as", "ann", "--secret", secret_file, "--role", "adjudicator"]
    done = CliRunner().invoke(cli.app, [*arguments, "--campaign", "a"], catch_exceptions=False)
    caller = authenticator.caller(bearer(done.stdout.strip()), PEER)
    assert caller == Caller("ann", frozenset({"adjudicator"}), frozenset({"a"}))
