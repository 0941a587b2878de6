"""A proxy with one defect, in a separate process: it forwards everything to a real server and changes one response.

    python proxy.py PORT UPSTREAM_PORT swap|alter|drop|stall|slow NUMBER

The defect affects the predict request with this number. `swap`: this request and the next one get each other's
response. `alter`: the first digit of the prediction is changed. `drop`: the connection is closed without a response.
`stall`: nothing is forwarded for 300 ms. `slow`: each request up to this one takes 10 ms longer.
"""

import asyncio
import re
import sys
from asyncio import StreamReader, StreamWriter

STALL_S = 0.3
SLOW_S = 0.01


class Proxy:
    def __init__(self, upstream: int, defect: str, number: int) -> None:
        self.upstream = upstream
        self.defect = defect
        self.number = number
        self.count = 0
        self.first = b""
        self.held: asyncio.Future[bytes] | None = None
        self.flows = asyncio.Event()
        self.flows.set()

    async def serve(self, client: StreamReader, responses: StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            while True:
                head, body = await message(client)
                number = 0
                if head.startswith(b"POST /predict/"):
                    self.count += 1
                    number = self.count
                writer.write(head + body)
                response_head, content = await message(reader)
                content = await self.apply_defect(number, content)
                await self.flows.wait()
                responses.write(
                    re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(content), response_head) + content
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for end in (writer, responses):
                end.close()

    async def apply_defect(self, number: int, content: bytes) -> bytes:
        if self.defect == "swap" and self.held is not None and number > self.number:
            held, self.held = self.held, None
            mine = self.first
            held.set_result(content)
            return mine
        if self.defect == "slow" and 0 < number <= self.number:
            await asyncio.sleep(SLOW_S)
        if self.defect == "slow" or number != self.number:
            return content
        if self.defect == "swap":
            self.first = content
            self.held = asyncio.get_running_loop().create_future()
            return await self.held
        if self.defect == "alter":
            return re.sub(
                rb"(predictions.*?:)(-?)(\d)", lambda m: bytes(m[1] + m[2] + b"%d" % (9 - int(m[3]))), content, count=1
            )
        if self.defect == "drop":
            raise ConnectionError
        self.flows.clear()
        await asyncio.sleep(STALL_S)
        self.flows.set()
        return content


async def message(reader: StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of the next message, which has a content-length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head, await reader.readexactly(int(length[1]) if length else 0)


async def main(port: str, upstream: str, defect: str, number: str) -> None:
    proxy = Proxy(int(upstream), defect, int(number))
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", int(port)) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
