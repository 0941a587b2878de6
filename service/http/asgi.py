"""The short path from the socket to the data plane: an ASGI app around BentoML's.

It answers what the contract names by itself, without objects for request and response. The rest (BentoML's page, its
schema for its client) passes through, and whatever comes back that is no success becomes a problem document.
"""

import asyncio
import itertools
import logging
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from urllib.parse import parse_qsl

import orjson

from models.rows import RowError
from models.text import truncate
from service import errors, tracing
from service.data_plane import DataPlane
from service.errors import (
    BodyTooSlow,
    ClientDisconnected,
    MethodNotAllowed,
    NotFound,
    NotReady,
    RequestError,
    RequestNotValid,
    Unexpected,
)
from service.http import negotiation, table_exchange
from service.http.body import Body
from service.http.negotiation import JSON
from service.http.types import App, Header, Message, Receive, Scope, Send
from service.protocols.native import OPTIONS
from service.routes.base import Reply, Request, Route, problem
from service.routes.router import Router
from service.server_state import ServerState
from service.settings import Settings
from service.tracing import Trace

SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
PREDICT, MODELS = "/predict/", "/models/"
PAGES = frozenset(["/models", "/livez", "/readyz", "/metrics", "/docs.json"])
ALLOW_READ, ALLOW_PREDICT = "GET, HEAD, OPTIONS", "POST, OPTIONS"
CLOSE: Header = (b"connection", b"close")
SLOW_S = 1.0  # a request that takes longer is logged
LINGER_S = 5.0  # how long the rest of a refused body is read, so that its sender gets to see the answer
log = logging.getLogger("tabserve.lane")


class Call:
    """One predict request: what the data plane is asked, and what it answered."""

    __slots__ = ("answer", "body", "deadline", "error", "gone", "model", "on_invalid", "request_id")

    def __init__(self, model: str, request_id: bytes) -> None:
        self.model = model
        self.request_id = request_id
        self.body = b""
        self.on_invalid = "fail"
        self.deadline = 0.0
        self.gone: Callable[[], Awaitable[None]] | None = None
        self.answer: bytes | None = None
        self.error: RequestError | None = None

    async def run(self, plane: DataPlane) -> None:
        """Ask the data plane; the answer or the error stays here."""
        try:
            self.answer = await plane.predict_json(
                self.model,
                self.body,
                on_invalid=self.on_invalid,
                deadline=self.deadline,
                request_id=self.request_id.decode("latin-1"),
                gone=self.gone,
            )
        except RequestError as error:
            self.error = error


CALL: ContextVar[Call] = ContextVar("call")
"""The request that BentoML's endpoint machinery works on, where the short path is off."""


class Lane:
    """`state` is changed by whoever starts and stops the server."""

    def __init__(self, plane: DataPlane, settings: Settings, documents: Callable[[], bytes]) -> None:
        self.plane = plane
        self.settings = settings
        self.state = ServerState()
        self._predict_routes = {PREDICT + name: name for name in plane.models}
        self._routes = Router(plane)
        self._documents = documents
        self._ids = itertools.count()
        self._id_prefix = os.urandom(6).hex()
        self._app: App = nothing

    def around(self, app: App) -> "Lane":
        """The app that gets what is not answered here."""
        self._app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.state.request_started()
        try:
            name = self._predict_routes.get(scope["path"])
            if name is not None and scope["method"] == "POST":
                await self._predict(name, scope, receive, send)
            elif (route := self._routes.find(scope["path"])) is not None:
                await self._exchange(route, scope, receive, send)
            else:
                await self._other(scope, receive, send)
        finally:
            self.state.request_finished()

    def request_id(self, headers: dict[bytes, bytes]) -> bytes:
        given = headers.get(b"x-request-id")
        if given is not None and SANE_ID.fullmatch(given):
            return given
        return f"{self._id_prefix}-{next(self._ids):x}".encode()

    # Predicting

    async def _predict(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """The native route of a model: JSON in, JSON out; other forms have a way of their own."""
        started = arrival(scope)
        headers = dict(scope["headers"])
        if not negotiation.plain(headers):
            await self._predict_table(name, headers, scope, receive, send)
            return
        call = Call(name, self.request_id(headers))
        context = tracing.read(headers) if b"traceparent" in headers else None
        passed_on = context.headers if context else ()
        body = Body(receive, self.settings.max_body_bytes, self.settings.timeout_s)
        try:
            if not self.state.admits_requests:
                raise not_ready(self.state)
            call.deadline = started + self._timeout(headers)
            if scope["query_string"]:
                call.on_invalid = option(scope["query_string"])
            call.body = await body.read(headers, self.plane)
            if self.settings.lane:
                usual = not scope["query_string"] and b"x-request-timeout" not in headers
                if usual and time.monotonic() < call.deadline:
                    call.answer = self.plane.served[name].quickly(call.body)
                if call.answer is None:
                    call.gone = body.gone
                    await call.run(self.plane)
            elif has_rows(call.body):
                await self._by_endpoint(call, scope)
            else:  # BentoML would log a trace of what is the client's mistake
                await call.run(self.plane)
        except RequestError as error:
            call.error = error
        except asyncio.CancelledError:  # uvicorn's graceful time is over
            call.error = NotReady("the server stops")
        except Exception:
            call.error = self.unexpected(call.request_id)
        failed = call.error
        if failed is None:
            assert call.answer is not None
            await self._send(send, 200, JSON, call.answer, call.request_id, passed_on)
        elif not isinstance(failed, ClientDisconnected):
            await self._refuse(problem(failed), failed, call.request_id, body, send, passed_on)
        self.tell("json", name, 200 if failed is None else failed.status, started, call.request_id, context)

    async def _predict_table(
        self, name: str, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The native route where the body or the answer is a table."""
        started = arrival(scope)
        request_id = self.request_id(headers)
        context = tracing.read(headers) if b"traceparent" in headers else None
        passed_on = context.headers if context else ()
        body = Body(receive, self.settings.max_body_bytes, self.settings.timeout_s)
        protocol, exchange, failed = "json", None, None
        try:
            if not self.state.admits_requests:
                raise not_ready(self.state)
            forms = negotiation.negotiate(headers)
            protocol = forms[0].name
            if protocol != "json":
                body = Body(receive, self.settings.max_stream_bytes, self.settings.timeout_s)
            exchange = table_exchange.Exchange(
                self.plane,
                self.plane.find(name),
                forms,
                body,
                headers,
                send,
                more=[(b"x-request-id", request_id), *passed_on, *([CLOSE] if self.state.draining else [])],
                seconds=self._timeout(headers),
                skip=skips(scope["query_string"]),
                request_id=request_id.decode("latin-1"),
            )
            await exchange.answer()
            failed = exchange.failed
        except RequestError as error:
            failed = error
        except asyncio.CancelledError:
            failed = NotReady("the server stops")
        except Exception:
            failed = self.unexpected(request_id)
        if failed and not (exchange and exchange.begun) and not isinstance(failed, ClientDisconnected):
            await self._refuse(problem(failed), failed, request_id, body, send, passed_on)
        self.tell(protocol, name, failed.status if failed else 200, started, request_id, context)

    async def _exchange(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """A route of another protocol."""
        started = arrival(scope)
        headers = dict(scope["headers"])
        request_id = self.request_id(headers)
        context = tracing.read(headers) if b"traceparent" in headers else None
        passed_on = context.headers if context else ()
        body = Body(receive, self.settings.max_body_bytes, self.settings.timeout_s)
        failed: RequestError | None = None
        method = scope["method"]
        try:
            state = self.state
            if not route.unready and (not state.admits_requests or (route.probe and state.draining)):
                raise not_ready(state)
            if method not in route.methods and not (method == "HEAD" and "GET" in route.methods):
                raise MethodNotAllowed(method, ", ".join(route.methods))
            deadline = started + self._timeout(headers)
            content = await body.read(headers, self.plane)
            reply = await route.answer(
                Request(
                    scope["path"],
                    scope["query_string"],
                    headers,
                    content,
                    request_id.decode("latin-1"),
                    deadline,
                    body.gone,
                )
            )
        except RequestError as error:
            failed = error
        except asyncio.CancelledError:
            failed = NotReady("the server stops")
        except Exception:
            failed = self.unexpected(request_id)
        if failed is None:
            status = reply.status
            await self._send(send, status, reply.kind, reply.body, request_id, [*reply.headers, *passed_on])
        else:
            reply = route.refuse(failed)
            status = reply.status
            if not isinstance(failed, ClientDisconnected):
                await self._refuse(reply, failed, request_id, body, send, passed_on)
        if route.model is not None:
            self.tell(route.protocol, route.model, status, started, request_id, context, (method, scope["path"]))

    def unexpected(self, request_id: bytes) -> Unexpected:
        """To be called where an exception is handled that nobody thought of."""
        log.exception("request failed", extra={"request_id": request_id.decode("latin-1")})
        return Unexpected()

    def tell(
        self,
        protocol: str,
        model: str,
        status: int,
        started: float,
        request_id: bytes,
        context: Trace | None,
        asked: tuple[str, str] | None = None,
    ) -> None:
        """Count a request that was answered, and log and trace it where that is wanted.

        asked: method and route, where it is not the model's own.
        """
        seconds = time.monotonic() - started
        served = self.plane.served.get(model)
        if served is not None:
            served.tally.request(protocol, status, seconds)
        if seconds > SLOW_S or (self.settings.access_log and random.random() < self.settings.access_log):
            log.info(
                "request",
                extra={
                    "model": model,
                    "protocol": protocol,
                    "status": status,
                    "seconds": round(seconds, 6),
                    "request_id": request_id.decode("latin-1"),
                    **({"trace_id": context.trace_id} if context else {}),
                },
            )
        if context:
            ended_ns = time.time_ns()
            started_ns = ended_ns - int(seconds * 1e9)
            asked = asked or ("POST", PREDICT + model)
            tracing.record(context, *asked, model, status, request_id.decode("latin-1"), started_ns, ended_ns)

    def _timeout(self, headers: dict[bytes, bytes]) -> float:
        """Seconds; X-Request-Timeout may shorten the setting, never lengthen it."""
        given = headers.get(b"x-request-timeout")
        if given is None:
            return self.settings.timeout_s
        try:
            seconds = float(given)
        except ValueError:
            seconds = 0.0
        if not seconds > 0:
            text = truncate(given.decode("latin-1"))
            raise unknown_option(f"X-Request-Timeout: {text!r} is not a number of seconds above 0")
        return min(seconds, self.settings.timeout_s)

    async def _by_endpoint(self, call: Call, scope: Scope) -> None:
        """Let BentoML's endpoint machinery have the request. Where it answers without asking the data plane (because it
        could not read the body, say), the data plane is asked after all: it is the one that knows the contract."""
        token = CALL.set(call)
        inner = {**scope, "headers": [(b"content-type", JSON), (b"content-length", b"%d" % len(call.body))]}
        messages = iter([{"type": "http.request", "body": call.body, "more_body": False}])

        async def replay() -> Message:
            return next(messages, {"type": "http.disconnect"})

        async def discard(message: Message) -> None:
            pass

        try:
            await self._app(inner, replay, discard)
        except Exception:
            log.exception("BentoML failed", extra={"request_id": call.request_id.decode("latin-1")})
        finally:
            CALL.reset(token)
        if call.answer is None and call.error is None:
            await call.run(self.plane)

    # Answering

    async def _send(
        self, send: Send, status: int, kind: bytes, body: bytes, request_id: bytes, more: Iterable[Header] = ()
    ) -> None:
        content = [] if status == 204 else [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        headers = [*content, (b"x-request-id", request_id), *more]
        if self.state.draining:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _refuse(
        self,
        reply: Reply,
        error: RequestError,
        request_id: bytes,
        body: Body,
        send: Send,
        more: Iterable[Header] = (),
    ) -> None:
        """Answer, and read on for a while where the body is not there yet: a reset would swallow the answer."""
        more = [*reply.headers, *more]
        if await body.finish(0.02) or isinstance(error, BodyTooSlow):
            more += [CLOSE] if isinstance(error, BodyTooSlow) else []
            await self._send(send, reply.status, reply.kind, reply.body, request_id, more)
            return
        headers = [
            (b"content-type", reply.kind),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", request_id),
            CLOSE,
            *more,
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        await body.finish(LINGER_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    # Everything else

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self.request_id(dict(scope["headers"]))
        try:
            try:
                answer = await self._own(scope["method"], scope["path"])
            except RequestError:
                raise
            except Exception:
                raise self.unexpected(request_id) from None
            if answer is not None:
                status, kind, body, more = answer
                await self._send(send, status, kind, body, request_id, more)
            else:
                await self._foreign(scope, receive, send, request_id)
        except RequestError as error:
            body_left = Body(receive, self.settings.max_body_bytes, self.settings.timeout_s)
            await self._refuse(problem(error), error, request_id, body_left, send)

    async def _own(self, method: str, path: str) -> tuple[int, bytes, bytes, list[Header]] | None:
        """Our answer to this route, or None where it is not ours. Raises RequestError."""
        allowed = ALLOW_READ
        if path.startswith(PREDICT):
            self.plane.find(path.removeprefix(PREDICT))
            allowed = ALLOW_PREDICT
        elif path.startswith(MODELS):
            self.plane.find(path.removeprefix(MODELS))
        elif path not in PAGES:
            return None
        if method == "OPTIONS":
            return 204, JSON, b"", [(b"allow", allowed.encode())]
        if path.startswith(PREDICT) or method not in ("GET", "HEAD"):
            raise MethodNotAllowed(method, allowed)
        return await self._page(path)

    async def _page(self, path: str) -> tuple[int, bytes, bytes, list[Header]]:
        if path == "/metrics":
            self.plane.metrics.flush()
            text = await self.plane.beside(self.plane.metrics.page)
            return 200, b"text/plain; version=0.0.4; charset=utf-8", text, []
        if path == "/readyz" and not self.state.passes_probes:
            raise not_ready(self.state)
        if path in ("/livez", "/readyz"):
            return 200, JSON, b'{"status":"ok"}', []
        if path == "/docs.json":
            return 200, JSON, self._documents(), []
        if path == "/models":
            return 200, JSON, self.plane.list_models(), []
        return 200, JSON, self.plane.describe(path.removeprefix(MODELS)), []

    async def _foreign(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        """BentoML's answer, its failures turned into problem documents."""
        failure: RequestError | None = None
        begun = False

        async def intercept(message: Message) -> None:
            nonlocal failure, begun
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    failure = translated(message, scope)
                    return
                begun = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            if failure is None:
                await send(message)

        try:
            await self._app(scope, receive, intercept)
        except Exception:
            log.exception("BentoML failed", extra={"request_id": request_id.decode("latin-1")})
            if begun:
                raise
            failure = Unexpected()
        if failure is not None:
            raise failure


class ForeignError(RequestError):
    """A failure that BentoML answered, in our form."""

    def __init__(self, status: int, headers: list[Header]) -> None:
        super().__init__("the request could not be answered")
        self.status = status  # type: ignore[misc]  # known only now
        self.title = errors.FOREIGN.get(status, "Request failed")  # type: ignore[misc]
        self._headers = headers

    @property
    def headers(self) -> list[Header]:
        return self._headers


def translated(message: Message, scope: Scope) -> RequestError:
    status, path = message["status"], scope["path"]
    headers = {bytes(key).lower(): bytes(value) for key, value in message.get("headers", ())}
    if status == 404:
        return NotFound(f"there is no route {truncate(path)!r}; /docs.json lists what there is")
    if status == 405:
        return MethodNotAllowed(scope["method"], headers.get(b"allow", b"GET, HEAD").decode("latin-1"))
    if status == 500:
        return Unexpected()
    return ForeignError(status, [(b"retry-after", b"1")] if status in (429, 503) else [])


def arrival(scope: Scope) -> float:
    """When the head of a request was there: by the worker's own protocol class, elsewhere when its turn came."""
    arrived: float = scope.get("arrived") or time.monotonic()
    return arrived


def not_ready(state: ServerState) -> NotReady:
    return NotReady("the server stops" if state.draining else "the models are not loaded yet")


def unknown_option(message: str) -> RequestNotValid:
    return RequestNotValid(message, [RowError(None, None, "unknown_option", message)])


def option(query: bytes) -> str:
    """The value of on_invalid. Raises RequestNotValid for any other option."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace")
    for name, _ in given:
        if name != "on_invalid":
            raise unknown_option(f"{truncate(name)!r} is no option, expected on_invalid")
    return ",".join(value for _, value in given) if given else "fail"


def skips(query: bytes) -> bool:
    """Whether on_invalid=skip. Raises RequestNotValid."""
    given = option(query) if query else "fail"
    if given not in OPTIONS:
        raise unknown_option(f"on_invalid={truncate(given)!r} is unknown, expected fail or skip")
    return given == "skip"


def has_rows(body: bytes) -> bool:
    """Whether it is a JSON object with a list of `rows`, which BentoML's endpoints can read."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and isinstance(document.get("rows"), list)


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The app behind the lane before it stands around one."""
    raise RuntimeError("the lane stands around no app")
