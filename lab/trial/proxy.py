"""The network between a trial's programs and their broker: `proxy.py PORT TARGET` forwards each connection.

Frozen, it is a network on which nothing arrives; killed, every connection breaks.
"""

import asyncio
import sys
from contextlib import suppress


async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy what comes from one side to the other, until it ends."""
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def main(port: int, target: int) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pour(reader, back), pour(there, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
