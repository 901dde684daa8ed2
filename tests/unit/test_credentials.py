"""Where a token may go, and whom a client trusts."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relabel_service import Client
from relabel_service.cli import main as cli
from relabel_service.errors import InvalidInput
from relabel_service.wire.credentials import is_this_machine, system_roots
from tests.support.certificates import write_certificates


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("localhost:9000", True),
        ("127.0.0.1:9000", True),
        ("127.8.9.1", True),
        ("[::1]:9000", True),
        ("::1", True),
        ("ipv4:127.0.0.1:9000", True),
        ("ipv6:[::1]:9000", True),
        ("dns:///localhost:9000", True),
        ("unix:/run/relabel.sock", True),
        ("relabel.example.org:443", False),
        ("10.0.0.1:9000", False),
        ("ipv4:127.0.0.1:9000,10.0.0.1:9000", False),
        ("127.0.0.1.example.org:9000", False),
        ("dns://127.0.0.1/relabel.example.org:9000", False),
        ("localhost.example.org:9000", False),
        ("xds:///localhost:9000", False),
        ("[2001:db8::1]:9000", False),
    ],
)
def test_which_addresses_are_this_machine(address: str, is_here: bool) -> None:
    assert is_this_machine(address) == is_here


def test_a_token_leaves_this_machine_encrypted_or_when_told_to() -> None:
    for unsafe in ("relabel.example.org:9000", "10.0.0.1:9000"):
        with pytest.raises(InvalidInput, match=r"clear text.*tls=True.*allow_plaintext_token"):
            Client(unsafe, token="secret")
        Client(unsafe, token="secret", tls=True).close()
        Client(unsafe, token="secret", allow_plaintext_token=True).close()
        Client(unsafe, labeler="ann").close()
    Client("localhost:9000", token="secret").close()


def test_the_command_line_says_the_same() -> None:
    command = ["--token", "secret", "campaigns", "--address", "relabel.example.org:1"]
    refused = CliRunner().invoke(cli.app, command)
    assert "--insecure" in str(refused.exception)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(InvalidInput, match="tls: is off"):
        Client("localhost:9000", ca_file=missing)
    with pytest.raises(InvalidInput, match=r"ca_file: .*missing.pem.*cannot be read"):
        Client("localhost:9000", tls=True, ca_file=missing)
    with pytest.raises(InvalidInput, match="name both files"):
        Client("localhost:9000", tls=True, client_certificate=missing)


def test_the_systems_certificates_are_those_of_openssl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
    assert system_roots() == made.ca.read_bytes()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    folder = tmp_path / "certs"
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert system_roots() is None
    os.symlink(made.ca, folder / "0123abcd.0")
    assert system_roots() == made.ca.read_bytes()
