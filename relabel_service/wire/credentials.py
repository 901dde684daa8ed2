"""How a client trusts a service and proves who it is: certificates, and where a token may go.

Owns what is read from this machine's files; the channel is channel.py's.
"""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from relabel_service.errors import InvalidInput


@dataclass(frozen=True)
class Tls:
    """PEM files. ca_file: whom to trust, in place of the system's root certificates;
    certificate_file and key_file: a certificate that this client shows, and its private key."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if bool(self.certificate_file) != bool(self.key_file):
            raise InvalidInput.of(
                "client_certificate", "comes with its private key; name both files, or neither"
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises InvalidInput for a file that cannot be read."""
        roots = _read("ca_file", self.ca_file) if self.ca_file else system_roots()
        return grpc.ssl_channel_credentials(
            roots,
            _read("client_key", self.key_file) if self.key_file else None,
            _read("client_certificate", self.certificate_file) if self.certificate_file else None,
        )


def system_roots() -> bytes | None:
    """The certificates that OpenSSL trusts on this machine, of SSL_CERT_FILE or SSL_CERT_DIR where
    they are set; None, which stands for those that grpcio brings, where there are none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return Path(paths.cafile).read_bytes()
    if paths.capath:  # each under the hash of its name, as c_rehash links them
        files = sorted(Path(paths.capath).glob("[0-9a-f]" * 8 + ".[0-9]"))
        return b"\n".join(file.read_bytes() for file in files) or None
    return None


def check_token_is_safe(address: str) -> None:
    """Raises InvalidInput where a token would leave this machine in clear text."""
    if not is_this_machine(address):
        raise InvalidInput.of(
            "address",
            f"a token would travel to {address!r} in clear text, for everybody on the way to use; "
            "encrypt (tls=True, --tls), or, where the network is yours alone, say so "
            "(allow_plaintext_token=True, --insecure)",
        )


def is_this_machine(address: str) -> bool:
    """address: as gRPC takes it: host:port, or with a scheme before it."""
    scheme, found, rest = address.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if found and scheme in ("dns", "ipv4", "ipv6"):
        address = rest.rpartition("/")[2]
    if address.startswith("["):
        return is_loopback(address[1:].partition("]")[0])
    host, _, port = address.rpartition(":")
    return is_loopback(host if port.isdecimal() and ":" not in host else address)


def is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _read(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or "is not a file"
        raise InvalidInput.of(
            field, f"{path!r} cannot be read ({reason}); name a PEM file"
        ) from error
