"""Converts requests and outcomes to and from the types of httpx."""

import ssl
from typing import Any

import httpx

from tabserve_client.client_core import ClientCore
from tabserve_client.wire import NoReply, Outcome, Reply, Send

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)
FINAL = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError)


def http_client_options(core: ClientCore, concurrency: int, verify: ssl.SSLContext | bool) -> dict[str, Any]:
    """The common options of httpx's two clients."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=max(concurrency, 20))
    if core.url.startswith("http:"):
        verify = False  # reading the certificates of all authorities takes as long as predicting 10,000 rows
    return {"headers": core.headers, "limits": limits, "follow_redirects": False, "verify": verify}


def http_request(core: ClientCore, step: Send) -> dict[str, Any]:
    """The arguments of httpx's `stream` for a request."""
    request = step.request
    return {
        "method": request.method,
        "url": core.url + request.path,
        "params": dict(request.query) or None,
        "headers": dict(request.headers),
        "content": request.content,
        "timeout": step.seconds,
    }


def reply_of(response: httpx.Response, content: bytes, *, complete: bool = True) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, content, complete)


def failed_outcome(error: Exception, url: str, response: httpx.Response | None, content: bytes) -> Outcome:
    """The outcome after an error: an incomplete reply, or none."""
    if response is not None:
        return reply_of(response, content, complete=False)
    return NoReply(error, url, sent=not isinstance(error, NOT_SENT), final=isinstance(error, FINAL))
