"""A proxy with one defect, in a separate process: it forwards everything to a real server, except for one response.

    python proxy.py PORT UPSTREAM_PORT swap|alter|drop|stall|slow NUMBER

NUMBER counts the predict requests. `swap`: that request and the next get each other's answer. `alter`: its first digit
is changed. `drop`: the connection ends instead. `stall`: nothing is forwarded for 300 ms. `slow`: up to that request
each takes 10 ms longer.
"""

import asyncio
import re
import sys
from asyncio import StreamReader, StreamWriter

STALL_S = 0.3
SLOW_S = 0.01


class Proxy:
    def __init__(self, upstream: int, misdeed: str, number: int) -> None:
        self.upstream = upstream
        self.misdeed = misdeed
        self.number = number
        self.count = 0
        self.first = b""
        self.held: asyncio.Future[bytes] | None = None
        self.flows = asyncio.Event()
        self.flows.set()

    async def serve(self, client: StreamReader, answers: StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            while True:
                head, body = await message(client)
                number = 0
                if head.startswith(b"POST /predict/"):
                    self.count += 1
                    number = self.count
                writer.write(head + body)
                answer, content = await message(reader)
                content = await self.misbehave(number, content)
                await self.flows.wait()
                answers.write(
                    re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(content), answer) + content
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for end in (writer, answers):
                end.close()

    async def misbehave(self, number: int, content: bytes) -> bytes:
        if self.misdeed == "swap" and self.held is not None and number > self.number:
            held, self.held = self.held, None
            mine = self.first
            held.set_result(content)
            return mine
        if self.misdeed == "slow" and 0 < number <= self.number:
            await asyncio.sleep(SLOW_S)
        if self.misdeed == "slow" or number != self.number:
            return content
        if self.misdeed == "swap":
            self.first = content
            self.held = asyncio.get_running_loop().create_future()
            return await self.held
        if self.misdeed == "alter":
            return re.sub(
                rb"(predictions.*?:)(-?)(\d)", lambda m: bytes(m[1] + m[2] + b"%d" % (9 - int(m[3]))), content, count=1
            )
        if self.misdeed == "drop":
            raise ConnectionError
        self.flows.clear()
        await asyncio.sleep(STALL_S)
        self.flows.set()
        return content


async def message(reader: StreamReader) -> tuple[bytes, bytes]:
    """The next message's head and body, with a content-length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head, await reader.readexactly(int(length[1]) if length else 0)


async def main(port: str, upstream: str, misdeed: str, number: str) -> None:
    proxy = Proxy(int(upstream), misdeed, int(number))
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", int(port)) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
