"""The ASGI application: finds the route of each request and runs the request's exchange."""

from collections.abc import Callable

from service.errors import ClientDisconnected, RequestError
from service.exchange import ServerContext
from service.http.asgi_types import App, Receive, Scope, Send
from service.http.compression import MIN_COMPRESSED_BYTES, compressed
from service.http.cross_origin import OriginPolicy, PreflightRoute, is_preflight
from service.http.direct_responses import DirectResponses
from service.http.http_exchange import HttpExchange
from service.http.request_body import ClientTurn
from service.registry import Snapshot
from service.routes.route import Route
from service.routes.router import Router


class Application:
    """Handles the routes of tabserve without BentoML's middlewares. BentoML's app receives all other requests."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.plane = context.plane
        self._inner: App = no_app
        self._router = Router(self.plane, self.plane.snapshot)
        self.direct = DirectResponses(context, self._router)
        settings = context.settings
        self._origins: OriginPolicy | None = None
        # a server with keys also needs it, because browsers send preflights without a key
        if settings.cors_origins or context.access.uses_keys:
            self._origins = OriginPolicy(settings.cors_origins)
            self._preflight = PreflightRoute(self.plane, self._origins)

    def wrap(self, app: App) -> "Application":
        """Set the application for requests that match no route. app: BentoML's app."""
        self._inner = app
        return self

    def prepare(self, snapshot: Snapshot) -> Callable[[], None]:
        """Build the router of the next snapshot. Returns a function to call once the snapshot is served."""
        router = Router(self.plane, snapshot)

        def install() -> None:
            self._use(router)

        return install

    def _use(self, router: Router) -> None:
        self._router = router
        self.direct.use(router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        context, router = self.context, self._router
        if router.snapshot is not self.plane.registry.snapshot:  # the served models have changed
            router = Router(self.plane, self.plane.snapshot)
            self._use(router)
        path = scope["path"]
        route: Route = router.common_routes.get(path) or router.find(path) or router.passthrough(self._inner, path)
        if self._origins is not None and is_preflight(scope):
            route = self._preflight
        exchange = HttpExchange(context, scope, receive, send, route.protocol)
        if self._origins is not None:
            exchange.unwrapped_send = send
            exchange.send = self._origins.wrap(exchange.headers, send)
        if route.served:
            exchange.served = route.served
        context.state.request_started()
        try:
            try:
                exchange.admit(route.access, route.model_name, route.always, route.probe)
                if context.turns is not None and route.access == "predict" and not exchange.had_turn:
                    exchange.body.turn = ClientTurn(context.turns, exchange.caller.name, exchange.started)
                    if scope["method"] != "POST":  # the route may not read a body
                        await exchange.body.take_turn(0)
                handle = route.handle if scope["method"] in route.methods else route.handle_other_method
                response = await handle(exchange)
                if response is not None and len(response.body) > MIN_COMPRESSED_BYTES:
                    response = await compressed(exchange.headers, response, self.plane)
            except BaseException as error:
                exchange.fail(error)
            if exchange.failed is not None:
                exchange.record(await refuse(route, exchange, exchange.failed))
            elif response is None:  # the route has sent the response itself
                exchange.record(200)
            else:
                await exchange.respond(response)
                exchange.record(response.status)
        finally:
            context.state.request_finished()
            exchange.failed = None  # breaks a reference cycle: the error's traceback refers to the exchange
            if exchange.body.reservation:
                exchange.body.reservation.close()


async def refuse(route: Route, exchange: HttpExchange, failed: RequestError) -> int:
    """Send the error in the format of the route's protocol unless a response has started. Returns the status."""
    if exchange.begun:
        return failed.status
    refusal = route.error_response(failed)
    if not isinstance(failed, ClientDisconnected):
        await exchange.respond_error(refusal, failed)
    return refusal.status


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    """The inner application until `wrap` is called."""
    raise RuntimeError("there is no application behind this one")
