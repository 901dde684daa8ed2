"""Two hosts and a router between them, as network namespaces; the router can swallow everything.

Needs no rights: the namespaces belong to a user namespace of this process's user. What is
swallowed is not refused: no reset, no ICMP, as where a cable is cut beyond the next switch.
"""

import subprocess

CLIENT, SERVER = "10.77.1.2", "10.77.2.2"
# As root of the user namespace, in the router's network: a process in a network of its own for
# each host, which ends with this one, and a link to it. Prints both processes' ids and waits.
SET_UP = """
set -e
moved() { [ "$(readlink /proc/$1/ns/net)" != "$(readlink /proc/self/ns/net)" ]; }
host() {
    setpriv --pdeathsig KILL unshare --net sleep infinity > /dev/null &
    until moved $!; do :; done
    ip link add to_$1 type veth peer name eth0 netns $!
    ip addr add 10.77.$2.1/24 dev to_$1
    ip link set to_$1 up
    inside="nsenter --net --target $!"
    $inside ip link set lo up
    $inside ip addr add 10.77.$2.2/24 dev eth0
    $inside ip link set eth0 up
    $inside ip route add default via 10.77.$2.1
    echo $!
}
echo 1 > /proc/sys/net/ipv4/ip_forward
host client 1
host server 2
echo ready
cat
"""


class Network:
    """Hosts CLIENT and SERVER. A process runs on one by being started with its prefix."""

    def __enter__(self) -> "Network":
        self._process = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", SET_UP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = [self._process.stdout.readline().strip() for _ in range(3)]
        if told[-1] != "ready":
            raise RuntimeError(
                "the tests need network namespaces of their own, which this machine refuses "
                f"(user namespaces may be switched off): {self._end()}"
            )
        self._client, self._server = told[:2]
        return self

    def on_client(self) -> list[str]:
        """Prefix of a command that runs on CLIENT, as root of the user namespace."""
        return self._in(self._client)

    def on_server(self) -> list[str]:
        """Prefix of a command that runs on SERVER, without rights, as PostgreSQL wants it."""
        ids = ("--map-user=1000", "--map-group=1000")
        return [*self._in(self._server), "unshare", "--user", *ids]

    def partition(self) -> None:
        """From now on the router drops what either host sends to the other."""
        for host in (CLIENT, SERVER):
            self._route("add", host)

    def heal(self) -> None:
        for host in (CLIENT, SERVER):
            self._route("delete", host)

    def __exit__(self, *_: object) -> None:
        self._end()

    def _route(self, change: str, host: str) -> None:
        router = self._in(str(self._process.pid))
        subprocess.run([*router, "ip", "route", change, "blackhole", host], check=True)

    def _in(self, pid: str) -> list[str]:
        return ["nsenter", "--preserve-credentials", "--user", "--net", "--target", pid]

    def _end(self) -> str:
        """What it said of errors."""
        return self._process.communicate()[1]
