"""The ASGI application: finds the route of a request and leads the request through its exchange."""

from service.errors import ClientDisconnected, MethodNotAllowed
from service.exchange import Context
from service.http.exchange import HttpExchange, Reply
from service.http.types import App, Receive, Scope, Send
from service.routes.base import Route
from service.routes.router import Router


class Application:
    """Answers the routes of the contract by itself, without the middlewares of BentoML's app, which gets the rest."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.plane = context.plane
        self._inner: App = no_app
        self._router = Router(self.plane)

    def around(self, app: App) -> "Application":
        """app: gets what has no route here."""
        self._inner = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        self.context.state.request_started()
        try:
            await self._answer(scope, receive, send)
        finally:
            self.context.state.request_finished()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        router = self.router
        route = router.find(scope["path"]) or router.passthrough(self._inner)
        exchange = HttpExchange(self.context, scope, receive, send, route.protocol)
        exchange.served = route.served
        with exchange:
            exchange.admit(always=route.always, probe=route.probe)
            if exchange.method not in route.methods:
                check_method(route, exchange.method)
            if route.timed:
                exchange.deadline = exchange.started + exchange.timeout()
            reply = await options(route, exchange) if exchange.method == "OPTIONS" else await route.answer(exchange)
        failed = exchange.failed
        if failed is None:
            if reply is not None:
                await exchange.respond(reply)
            status = 200 if reply is None else reply.status
        elif exchange.begun:
            status = failed.status
        else:
            refusal = route.refuse(failed)
            status = refusal.status
            if not isinstance(failed, ClientDisconnected):
                await exchange.refuse(refusal, failed)
        exchange.record(status)

    @property
    def router(self) -> Router:
        """The routes of what is served now."""
        router = self._router
        if router.snapshot is not self.plane.registry.snapshot:
            router = self._router = Router(self.plane)
        return router


def check_method(route: Route, method: str) -> None:
    """Raises MethodNotAllowed."""
    if not route.methods or (method == "HEAD" and "GET" in route.methods):
        return
    raise MethodNotAllowed(method, ", ".join(route.methods))


async def options(route: Route, exchange: HttpExchange) -> Reply | None:
    if route.answers_options:
        return Reply(status=204, headers=[(b"allow", ", ".join(route.methods).encode())])
    return await route.answer(exchange)


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    """The inner application before `around` was called."""
    raise RuntimeError("there is no application behind this one")
