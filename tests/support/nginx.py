"""nginx as a gateway on this machine; Debian's package nginx-light has it."""

import re
import shutil
from pathlib import Path

from tests.support.certificates import Certificates
from tests.support.gateway import Gateway

PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
PAGE = Path(__file__).parents[2] / "docs/how-to/behind-a-gateway.md"
PLAIN = """\
server {{
    listen {port} ssl http2;
    ssl_certificate {server};
    ssl_certificate_key {server_key};
    {more}
    location / {{ grpc_pass grpc://127.0.0.1:{grpc}; }}
}}
"""
"""A server with nginx's defaults in front of gRPC."""
FRAME = """\
daemon off;
pid {folder}/pid;
worker_processes 1;
error_log stderr notice;
events {{}}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{servers}
}}
"""


def documented(made: Certificates, *, listen: int, grpc: int, http: int) -> str:
    """The page's settings, with other ports and files."""
    [block] = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert isinstance(block, str)
    for shown, here in {
        "listen 443": f"listen {listen}",
        "/etc/nginx/relabel.pem": str(made.server),
        "/etc/nginx/relabel.key": str(made.server_key),
        "127.0.0.1:9000": f"127.0.0.1:{grpc}",
        "127.0.0.1:8000": f"127.0.0.1:{http}",
    }.items():
        assert shown in block
        block = block.replace(shown, here)
    return block


class Nginx(Gateway):
    """Runs server blocks; everything else is nginx's default."""

    name = "nginx"
    STARTED, CUT_OFF = "start worker process ", "upstream timed out"

    def __init__(self, folder: Path, servers: str) -> None:
        if not Path(PROGRAM).exists():
            raise RuntimeError("the tests need nginx: apt-get install nginx-light")
        config = folder / "nginx.conf"
        config.write_text(FRAME.format(folder=folder, servers=servers))
        super().__init__(PROGRAM, "-p", str(folder), "-c", str(config))
