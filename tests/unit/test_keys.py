"""Keys that change, come from several places, or cannot be had for a while."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relabel_service.errors import InvalidInput, Unauthenticated, Unavailable
from relabel_service.server.auth import (
    ADMIN,
    AuthSettings,
    TokenAuthenticator,
    mint,
    read_secret,
)
from relabel_service.server.keys import LONGEST_STALE_S, REFRESH_S, RETRY_S, IssuerKeys
from tests.unit.test_auth import PEER, bearer, claims

OLD, NEW = "o" * 40, "n" * 40
PRIVATE = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("one", "two")}


def signed(name: str) -> str:
    return jwt.encode(claims(), PRIVATE[name], algorithm="ES256", headers={"kid": name})


def pem(name: str) -> bytes:
    return (
        PRIVATE[name]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


class Issuer:
    """Publishes keys by name, or is away; time stands still unless a test moves it."""

    def __init__(self, *names: str) -> None:
        self.names: tuple[str, ...] | None = names
        self.now = 1000.0
        self.num_asked = 0
        self.keys = IssuerKeys("https://issuer/keys", fetch=self.fetch, clock=lambda: self.now)

    def fetch(self, url: str) -> bytes:
        self.num_asked += 1
        if self.names is None:
            raise OSError("no route to host")
        to_jwk = jwt.algorithms.ECAlgorithm.to_jwk
        published = [
            json.loads(to_jwk(PRIVATE[name].public_key())) | {"kid": name, "use": "sig"}
            for name in self.names
        ]
        return json.dumps({"keys": published}).encode()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refreshed in the background is so before the next line."""

    class Joined(Thread):
        def start(self) -> None:
            super().start()
            self.join()

    monkeypatch.setattr("threading.Thread", Joined)


def test_keys_are_fetched_once_and_again_when_they_are_old() -> None:
    issuer = Issuer("one")
    for _ in range(3):
        [key] = issuer.keys.of(signed("one"))
        assert key.key_id == "one"
    assert issuer.num_asked == 1
    issuer.now += REFRESH_S + 1
    issuer.keys.of(signed("one"))
    assert issuer.num_asked == 2


def test_while_the_issuer_is_away_keys_that_were_fetched_are_used() -> None:
    issuer = Issuer("one")
    issuer.keys.of(signed("one"))
    issuer.names = None
    issuer.now += LONGEST_STALE_S - 1
    assert issuer.keys.of(signed("one"))
    with pytest.raises(Unavailable, match=r"https://issuer/keys \(no route to host\)"):
        issuer.keys.of(signed("two"))
    issuer.now += 2
    with pytest.raises(Unavailable):
        issuer.keys.of(signed("one"))
    issuer.names = ("one",)
    issuer.now += RETRY_S + 1
    assert issuer.keys.of(signed("one"))


def test_without_any_key_the_service_is_unavailable_and_asks_seldom() -> None:
    issuer = Issuer()
    issuer.names = None
    for _ in range(5):
        with pytest.raises(Unavailable, match="ask again later"):
            issuer.keys.of(signed("one"))
    assert issuer.num_asked == 1


def test_a_key_that_is_new_is_fetched_and_one_that_nobody_knows_asked_for_seldom() -> None:
    issuer = Issuer("one")
    issuer.keys.of(signed("one"))
    issuer.names = ("one", "two")
    issuer.now += RETRY_S + 1
    assert issuer.keys.of(signed("two"))
    unknown = jwt.encode(claims(), PRIVATE["one"], algorithm="ES256", headers={"kid": "three"})
    for _ in range(5):
        assert issuer.keys.of(unknown) == []
    assert issuer.num_asked == 2


def test_an_issuer_that_is_away_does_not_make_a_caller_a_stranger() -> None:
    settings = AuthSettings(jwks="http://127.0.0.1:9/keys")  # nobody listens there
    with pytest.raises(Unavailable, match="keys cannot be had"):
        TokenAuthenticator(settings).caller(bearer(signed("one")), PEER)
    with pytest.raises(Unauthenticated):
        TokenAuthenticator(settings).caller(bearer("rubbish"), PEER)


def replaced(path: Path, contents: bytes) -> None:
    """As a mounted Secret changes: another file takes the name."""
    (path.parent / "next").write_bytes(contents)
    os.replace(path.parent / "next", path)


def test_a_secret_is_replaced_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(OLD)
    authenticator = TokenAuthenticator(AuthSettings(secret_file=str(path)))

    def is_taken(secret: str) -> bool:
        token = mint(secret.encode(), "ann", lifetime_s=60)
        try:
            return authenticator.caller(bearer(token), PEER).name == "ann"
        except Unauthenticated:
            return False

    assert (is_taken(OLD), is_taken(NEW)) == (True, False)
    replaced(path, f"{NEW}\n{OLD}\n".encode())
    assert (is_taken(OLD), is_taken(NEW)) == (True, True)
    assert read_secret(str(path)) == NEW.encode()
    replaced(path, NEW.encode())
    assert (is_taken(OLD), is_taken(NEW)) == (False, True)
    replaced(path, b"too short")  # a mistake locks nobody out
    assert is_taken(NEW)
    path.unlink()
    assert is_taken(NEW)


def test_a_file_may_hold_several_public_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(pem("one") + pem("two"))
    authenticator = TokenAuthenticator(AuthSettings(public_key_file=str(path)))
    for name in PRIVATE:
        assert authenticator.caller(bearer(signed(name)), PEER).name == "ann"
    replaced(path, pem("two"))
    with pytest.raises(Unauthenticated):
        authenticator.caller(bearer(signed("one")), PEER)
    path.write_text("not a key")
    with pytest.raises(InvalidInput, match="holds no key in PEM"):
        TokenAuthenticator(AuthSettings(public_key_file=str(path)))


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[..., TokenAuthenticator]:
    (tmp_path / "secret").write_text(OLD)

    def guarded(**settings: Any) -> TokenAuthenticator:
        return TokenAuthenticator(AuthSettings(secret_file=str(tmp_path / "secret"), **settings))

    return guarded


def test_tokens_that_last_too_long_are_refused(guarded: Callable[..., TokenAuthenticator]) -> None:
    authenticator = guarded(max_lifetime_s=3600)
    short, long = (mint(OLD.encode(), "ann", lifetime_s=each) for each in (3600, 2 * 3600))
    assert authenticator.caller(bearer(short), PEER).name == "ann"
    with pytest.raises(Unauthenticated, match="at most 3600 s are taken"):
        authenticator.caller(bearer(long), PEER)
    with pytest.raises(InvalidInput, match="max_lifetime_s"):
        guarded(max_lifetime_s=-1)


def test_labelers_must_name_campaigns_where_that_is_required(
    guarded: Callable[..., TokenAuthenticator],
) -> None:
    authenticator = guarded(require_campaigns=True)
    with pytest.raises(Unauthenticated, match="names no campaigns"):
        authenticator.caller(bearer(mint(OLD.encode(), "ann", lifetime_s=60)), PEER)
    scoped = mint(OLD.encode(), "ann", campaigns=("demo",), lifetime_s=60)
    assert authenticator.caller(bearer(scoped), PEER).may_see("demo")
    admin = mint(OLD.encode(), "root", role=ADMIN, lifetime_s=60)
    assert authenticator.caller(bearer(admin), PEER).campaigns is None
