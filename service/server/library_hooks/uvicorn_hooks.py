"""Hooks into uvicorn's server and HTTP protocol, its parser httptools and its event loop uvloop."""

import inspect

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from models.library_hook import LibraryHook, equality_problem, first_problem, parameter_problem, reference_problem

UPGRADE_REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"


def _check_signal_handler() -> str | None:
    return first_problem(
        reference_problem(uvicorn.Server.capture_signals, "signal", "handle_exit"),
        equality_problem(
            "the arguments of Server.handle_exit",
            list(inspect.signature(uvicorn.Server.handle_exit).parameters),
            ["self", "sig", "frame"],
        ),
    )


def _check_protocol_class() -> str | None:
    return first_problem(
        reference_problem(uvicorn.Server.startup, "http_protocol_class"),
        parameter_problem(HttpToolsProtocol, "config", "server_state", "app_state"),
        reference_problem(uvicorn.Server.startup, "lifespan", "state"),
    )


def _check_graceful_timeout() -> str | None:
    return first_problem(
        reference_problem(uvicorn.Config.__init__, "timeout_graceful_shutdown"),
        reference_problem(uvicorn.Server.shutdown, "timeout_graceful_shutdown"),
    )


def _check_listeners() -> str | None:
    return first_problem(
        reference_problem(uvicorn.Server.startup, "servers", "started"),
        reference_problem(uvicorn.Server.shutdown, "servers", "close"),
        reference_problem(uvicorn.Server._wait_tasks_to_complete, "servers", "wait_closed"),
    )


def _check_connections() -> str | None:
    state = uvicorn.Server(uvicorn.Config("x:y", log_config=None)).server_state
    if not isinstance(state.connections, set):
        return "ServerState.connections is not a set"
    return reference_problem(HttpToolsProtocol.connection_made, "connections", "add")


def _check_data_received() -> str | None:
    return reference_problem(HttpToolsProtocol.data_received, "_unset_keepalive_if_required", "parser", "feed_data")


def _check_on_headers_complete() -> str | None:
    return reference_problem(
        HttpToolsProtocol.on_headers_complete, "scope", "cycle", "transport", "keep_alive", "pipeline", "appendleft"
    )


def _check_shutdown() -> str | None:
    return first_problem(
        reference_problem(uvicorn.Server.shutdown, "connections", "shutdown"),
        reference_problem(HttpToolsProtocol.shutdown, "cycle", "keep_alive"),
    )


def _check_should_upgrade() -> str | None:
    names = ("on_headers_complete", "on_body", "on_message_complete")
    callers = [getattr(HttpToolsProtocol, name) for name in names]
    return first_problem(
        None if callable(HttpToolsProtocol._should_upgrade) else "HttpToolsProtocol._should_upgrade is not a method",
        *(reference_problem(caller, "should_upgrade", "_should_upgrade") for caller in callers),
    )


def _check_keep_alive() -> str | None:
    return first_problem(
        reference_problem(
            HttpToolsProtocol.on_response_complete, "timeout_keep_alive_task", "timeout_keep_alive_handler"
        ),
        reference_problem(HttpToolsProtocol.timeout_keep_alive_handler, "transport", "is_closing", "close"),
    )


def _check_on_response_complete() -> str | None:
    return first_problem(
        reference_problem(HttpToolsProtocol.on_headers_complete, "on_response", "on_response_complete"),
        reference_problem(HttpToolsProtocol.on_response_complete, "pipeline", "is_closing"),
        reference_problem(RequestResponseCycle.send, "on_response"),
    )


def _check_direct_responses() -> str | None:
    return first_problem(
        reference_problem(HttpToolsProtocol.on_body, "cycle", "body", "message_event"),
        reference_problem(HttpToolsProtocol.on_message_complete, "cycle", "more_body"),
        reference_problem(
            HttpToolsProtocol.on_response_complete, "total_requests", "timeout_keep_alive_task", "timeout_keep_alive"
        ),
        reference_problem(HttpToolsProtocol.on_headers_complete, "default_headers"),
        reference_problem(uvicorn.Server.on_tick, "default_headers"),
        reference_problem(RequestResponseCycle.send, "write_paused"),
    )


def _check_protocol_state() -> str | None:
    return first_problem(
        reference_problem(
            HttpToolsProtocol.__init__, "cycle", "scope", "headers", "parser", "pipeline", "transport", "loop"
        ),
        reference_problem(HttpToolsProtocol.on_message_begin, "url", "headers", "scope"),
        reference_problem(HttpToolsProtocol.on_header, "headers", "append"),
    )


def _check_cycle_state() -> str | None:
    return first_problem(
        reference_problem(RequestResponseCycle.__init__, "scope", "transport", "keep_alive", "message_event"),
        reference_problem(
            RequestResponseCycle.__init__, "disconnected", "more_body", "response_started", "response_complete"
        ),
        reference_problem(RequestResponseCycle.send, "transport", "write", "close", "disconnected"),
    )


def _check_response_length() -> str | None:
    return first_problem(
        reference_problem(RequestResponseCycle.send, "chunked_encoding", "expected_content_length"),
        reference_problem(RequestResponseCycle.run_asgi, "send"),
    )


def _check_upgrade_offset() -> str | None:
    class Callbacks:
        pass

    parser = httptools.HttpRequestParser(Callbacks())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    try:
        parser.feed_data(UPGRADE_REQUEST + b"rest")
    except httptools.HttpParserUpgrade as upgrade:
        return equality_problem("the first argument of HttpParserUpgrade", upgrade.args[0], len(UPGRADE_REQUEST))
    return "the parser no longer stops at a request with an upgrade"


def _check_tls() -> str | None:
    return first_problem(
        reference_problem(uvicorn.Config.load, "is_ssl", "ssl", "encoded_headers"),
        reference_problem(
            uvicorn.Config.__init__, "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs"
        ),
        reference_problem(uvicorn.Config.__init__, "ssl_version", "ssl_cert_reqs", "ssl_ciphers"),
        reference_problem(uvicorn.Server.on_tick, "default_headers", "encoded_headers"),
    )


def _check_event_loop() -> str | None:
    import uvloop  # imported here, because the supervisor does not need it and saves 2 MB

    return first_problem(
        parameter_problem(uvloop.Loop.connect_accepted_socket, "protocol_factory", "sock"),
        parameter_problem(uvloop.Loop.connect_accepted_socket, "ssl", "ssl_handshake_timeout", "ssl_shutdown_timeout"),
        None if callable(uvloop.Loop.add_reader) else "uvloop.Loop.add_reader is not a method",
        None if callable(uvloop.Loop.remove_reader) else "uvloop.Loop.remove_reader is not a method",
    )


SIGNAL_HANDLER = LibraryHook(
    "Server.handle_exit as the handler of SIGTERM",
    "uvicorn",
    "The server stops without draining, has no limits for heads and does not share connections.",
    _check_signal_handler,
)
PROTOCOL_CLASS = LibraryHook(
    "Config.http_protocol_class, read for each connection",
    "uvicorn",
    "Heads have no limits, invalid HTTP gets no problem document, upgrades end the connection.",
    _check_protocol_class,
)
GRACEFUL_TIMEOUT = LibraryHook(
    "Config.timeout_graceful_shutdown, read when the server stops",
    "uvicorn",
    "A server that stops waits forever for a client that does not read its response.",
    _check_graceful_timeout,
)
LISTENERS = LibraryHook(
    "Server.servers",
    "uvicorn",
    "One worker accepts nearly all connections, and under load late ones wait for seconds.",
    _check_listeners,
)
CONNECTIONS = LibraryHook(
    "ServerState.connections",
    "uvicorn",
    "Workers cannot count their connections, and connections that send nothing are never closed.",
    _check_connections,
)
DATA_RECEIVED = LibraryHook(
    "HttpToolsProtocol.data_received",
    "uvicorn",
    "A head has no limit, and a request with an upgrade is not answered.",
    _check_data_received,
)
ON_HEADERS_COMPLETE = LibraryHook(
    "HttpToolsProtocol.on_headers_complete",
    "uvicorn",
    "Deadlines do not count from the arrival of a request, trailers become headers, a response takes two system calls.",
    _check_on_headers_complete,
)
SHUTDOWN = LibraryHook(
    "HttpToolsProtocol.shutdown",
    "uvicorn",
    "A server that stops closes connections whose first request is on its way.",
    _check_shutdown,
)
SHOULD_UPGRADE = LibraryHook(
    "HttpToolsProtocol._should_upgrade",
    "uvicorn",
    "A request with an upgrade is answered twice.",
    _check_should_upgrade,
)
KEEP_ALIVE = LibraryHook(
    "HttpToolsProtocol.timeout_keep_alive_handler",
    "uvicorn",
    "A connection whose head does not arrive in time is closed without a 408.",
    _check_keep_alive,
)
ON_RESPONSE_COMPLETE = LibraryHook(
    "HttpToolsProtocol.on_response_complete",
    "uvicorn",
    "An invalid request after other requests on the same connection is never refused.",
    _check_on_response_complete,
)
DIRECT_RESPONSES = LibraryHook(
    "HttpToolsProtocol.on_message_complete",
    "uvicorn",
    "Small requests are answered without the headers, the counts and the timers of uvicorn.",
    _check_direct_responses,
)
PROTOCOL_STATE = LibraryHook(
    "the attributes of HttpToolsProtocol",
    "uvicorn",
    "Every connection ends with an error as soon as it sends something unusual.",
    _check_protocol_state,
)
CYCLE_STATE = LibraryHook(
    "the attributes of RequestResponseCycle",
    "uvicorn",
    "Every connection ends with an error as soon as its request is refused or its response is written.",
    _check_cycle_state,
)
RESPONSE_LENGTH = LibraryHook(
    "RequestResponseCycle.chunked_encoding and expected_content_length",
    "uvicorn",
    "A streamed response to HTTP/1.0 has chunks, which such a client cannot decode.",
    _check_response_length,
)
UPGRADE_OFFSET = LibraryHook(
    "HttpParserUpgrade.args[0]",
    "httptools",
    "The bytes after a request with an upgrade are read from the wrong position.",
    _check_upgrade_offset,
)
TLS = LibraryHook(
    "Config.ssl and encoded_headers",
    "uvicorn",
    "A renewed certificate needs a restart, and responses over TLS lack Strict-Transport-Security.",
    _check_tls,
)
EVENT_LOOP = LibraryHook(
    "uvloop.Loop.connect_accepted_socket",
    "uvloop",
    "Connections that a worker has accepted are not served.",
    _check_event_loop,
)
HOOKS = (
    SIGNAL_HANDLER,
    PROTOCOL_CLASS,
    GRACEFUL_TIMEOUT,
    LISTENERS,
    CONNECTIONS,
    DATA_RECEIVED,
    ON_HEADERS_COMPLETE,
    SHUTDOWN,
    SHOULD_UPGRADE,
    KEEP_ALIVE,
    ON_RESPONSE_COMPLETE,
    DIRECT_RESPONSES,
    PROTOCOL_STATE,
    CYCLE_STATE,
    RESPONSE_LENGTH,
    UPGRADE_OFFSET,
    TLS,
    EVENT_LOOP,
)
