"""Ports nobody listens on, nor will before the caller does.

They lie below those that the kernel gives out by itself (32768 and up) and above those of
Ray's workers (10002 to 19999): a free port among either may be another process's by
the time that a server, started seconds later, binds it.
"""

import random
import socket

_LEAST, _END = 20_000, 32_768

_reserved: set[int] = set()  # to others in this process, who may not have bound theirs yet


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(num: int) -> range:
    """Ports next to each other."""
    while True:
        first = random.randrange(_LEAST, _END - num + 1)
        ports = range(first, first + num)
        if _reserved.isdisjoint(ports) and all(map(_is_free, ports)):
            _reserved.update(ports)
            return ports


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True
