"""Bytes sent over a connection: invalid HTTP, heads that are too large, several requests, and older versions of
HTTP.
"""

from tests.recorded.case import Case, SocketCase, encode_body
from tests.recorded.cases.samples import SINGLE

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\n\r\n"
LAST = b"GET /models/star HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nConnection: close\r\n\r\n"
BODY = encode_body({"rows": [SINGLE]})


def cases() -> list[Case]:
    made: list[Case] = []

    def add(name: str, content: bytes, *methods: str, server: str = "all", finish: bool = False) -> None:
        full = f"connection-{name}"
        content = content.replace(b"%s", full.encode())
        made.append(SocketCase(name=full, server=server, content=content, methods=methods or ("GET",), finish=finish))

    add("not-http", b"what is this\r\n\r\n")
    add("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40))
    add("bad-version", b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n")
    add("bad-header", b"GET /livez HTTP/1.1\r\nHost: x\r\nno colon here\r\n\r\n")
    add("bad-length", b"POST /predict/single HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
    add("negative-length", b"POST /predict/single HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
    add("two-lengths", b"POST /predict/single HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x")
    both = b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    add("length-and-chunks", b"POST /predict/single HTTP/1.1\r\nHost: x\r\n" + both)
    add("bad-chunk", b"POST /predict/single HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n")
    add("connect", b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    add("unknown-method", b"BREW /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    add("large-head", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 70_000 + b"\r\n\r\n")
    add("many-headers", b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-Header: some value\r\n" * 4000 + b"\r\n")
    add("large-path", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    add("head-within-limit", LAST.replace(b"Host: x", b"Host: x\r\nX-Large: " + b"x" * 60_000))
    add("two-requests", GET + LAST)
    add("three-requests", GET + GET.replace(b"/livez", b"/readyz") + LAST)
    post = (
        b"POST /predict/single HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: "
        + str(len(BODY)).encode()
        + b"\r\n"
    )
    add("posts", post + b"\r\n" + BODY + post + b"Connection: close\r\n\r\n" + BODY, "POST", "POST")
    add("good-then-bad", GET + b"what is this\r\n\r\n")
    add("post-then-bad", post + b"\r\n" + BODY + b"what is this\r\n\r\n", "POST")
    add("expect-continue", post + b"Expect: 100-continue\r\nConnection: close\r\n\r\n" + BODY, "POST")
    add("expect-other", post + b"Expect: miracles\r\nConnection: close\r\n\r\n" + BODY, "POST")
    add("http-1-0", b"GET /livez HTTP/1.0\r\nX-Request-ID: %s\r\n\r\n")
    add("http-1-0-keep-alive", b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\nX-Request-ID: %s\r\n\r\n" + LAST)
    add("http-1-0-post", post.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n" + BODY, "POST")
    add("no-host", b"GET /livez HTTP/1.1\r\nX-Request-ID: %s\r\nConnection: close\r\n\r\n")
    add("bare-newlines", b"GET /livez HTTP/1.1\nHost: x\nX-Request-ID: %s\nConnection: close\n\n")
    add("leading-newlines", b"\r\n\r\n" + LAST)
    add(
        "folded-header",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: one\r\n two\r\nX-Request-ID: %s\r\nConnection: close\r\n\r\n",
    )
    add("absolute-target", b"GET http://x/livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nConnection: close\r\n\r\n")
    add("star", b"OPTIONS * HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nConnection: close\r\n\r\n", "OPTIONS")
    add("upgrade", LAST.replace(b"Connection: close", b"Connection: close, Upgrade\r\nUpgrade: websocket"))
    add(
        "upgrade-h2c",
        LAST.replace(
            b"Connection: close", b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x"
        ),
    )
    add("head", b"HEAD /livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\n\r\n" + LAST, "HEAD", "GET")
    add(
        "refused-body",
        b"POST /livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nContent-Length: 2\r\n\r\n{}" + LAST,
        "POST",
        "GET",
    )
    add(
        "trailers",
        post.partition(b"Content-Length")[0]
        + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n" % len(BODY)
        + BODY
        + b"\r\n0\r\nX-Trailer: 1\r\n\r\n",
        "POST",
    )
    slow = post.replace(b"/single", b"/numbers").replace(str(len(BODY)).encode(), b"99")
    add("slow-body", slow + b"\r\n" + BODY, "POST", server="batching")
    slow_v2 = slow.replace(b"/predict/numbers", b"/v2/models/numbers/infer")
    add("slow-body-v2", slow_v2 + b"\r\n" + BODY, "POST", server="batching")
    too_large = post.replace(b"/single", b"/homes").replace(str(len(BODY)).encode(), b"9000")
    add("body-too-large", too_large + b"Connection: close\r\n\r\n" + b"x" * 9000, "POST", server="small")
    return made
