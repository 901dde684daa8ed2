#!/bin/sh
# A gRPC server ends calls at random with CANCELLED once more than 1,000 wait for it to take them.
#
# Guess before: calls beyond what a server takes at once wait until it does or until their deadlines;
# a server that sheds load says RESOURCE_EXHAUSTED or UNAVAILABLE; CANCELLED means that the client
# cancelled the call.
# Seen with grpcio 1.85.1 (Linux x86_64, CPython 3.11): of 2,500 calls sent at once to a grpc.aio server
# whose loop is busy for 3 s, some hundred end with CANCELLED and the details "CANCELLED", though nobody
# cancelled them; their handlers never ran. With the channel arguments grpc.server.max_pending_requests
# and grpc.server.max_pending_requests_hard_limit at 100,000 all end with OK. (Defaults: 1,000, from
# which on a random part is ended, and 3,000.)
# Fails when none is cancelled with the defaults, or one is without them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/shed.py" <<'PYTHON'
import asyncio
import subprocess
import sys
import time
from collections import Counter

import grpc

NUM = 2500
LIMITS = ("grpc.server.max_pending_requests", "grpc.server.max_pending_requests_hard_limit")


async def serve(options):
    busy = asyncio.Event()

    async def answer(request, context):
        if not busy.is_set():
            busy.set()
            time.sleep(3)  # as the loop of a busy process
        return b""

    server = grpc.aio.server(options=options)
    methods = {"Call": grpc.unary_unary_rpc_method_handler(answer)}
    handler = grpc.method_handlers_generic_handler("test", methods)
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def call(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary("/test/Call")

        async def code():
            try:
                await stub(b"")
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            return "OK"

        return Counter(await asyncio.gather(*(code() for _ in range(NUM))))


def ends(*limit):
    command = [sys.executable, __file__, *limit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found = asyncio.run(call(int(process.stdout.readline())))
        process.kill()
    print(f"grpcio {grpc.__version__}, limits {limit or 'as they are'}: {dict(found)}", flush=True)
    return found


if sys.argv[1] == "compare":
    assert ends("default")["CANCELLED: CANCELLED"] > 0, "gRPC has changed"
    assert ends("100000") == {"OK": NUM}
else:
    given = [] if sys.argv[1] == "default" else [(name, int(sys.argv[1])) for name in LIMITS]
    asyncio.run(serve(given))
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "grpcio==1.85.1"
"$folder/venv/bin/python" "$folder/shed.py" compare
