"""Usage: websocket.py serve | websocket.py ask PORT HOST FOLDER"""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

LARGE = 4 << 20


async def echo(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4321, "done")
            return
        await socket.send(message)


async def server():
    async with serve(echo, "127.0.0.1", 0, max_size=2 * LARGE) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await listening.serve_forever()


async def client(port, host, folder):
    context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
    context.load_cert_chain(os.path.join(folder, "good.pem"), os.path.join(folder, "good.key"))

    def opened():
        address = {"host": "127.0.0.1", "port": int(port), "server_hostname": host}
        return connect(f"wss://{host}/", ssl=context, max_size=2 * LARGE, open_timeout=60, **address)

    async def echoes(socket, message):
        await socket.send(message)
        whole = message if isinstance(message, (str, bytes)) else type(message[0])().join(message)
        received = await socket.recv()
        assert received == whole, (len(received), len(whole))

    async with opened() as socket:
        await echoes(socket, "grüß Gott")
        await echoes(socket, bytes(range(256)))
        await echoes(socket, ["in ", "three ", "parts"])
        await echoes(socket, os.urandom(LARGE))
        await asyncio.wait_for(await socket.ping(), 60)

    async def one(number):
        async with opened() as socket:
            await echoes(socket, f"number {number}")

    await asyncio.gather(*map(one, range(64)))
    async with opened() as socket:
        await socket.send("close")
        try:
            await socket.recv()
        except ConnectionClosed as end:
            code, reason = end.rcvd.code, end.rcvd.reason
    print(f"text, binary, fragments, 4 MiB, ping, 64 at once, closed by the server: {code} {reason}")


if sys.argv[1] == "serve":
    asyncio.run(server())
else:
    asyncio.run(client(*sys.argv[2:]))
