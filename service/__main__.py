"""`python -m service`: run `bentoml serve` on loopback, and print three example requests once it is ready.

With a command, such as `promote housing:4`, it changes or shows what is served instead.
"""

import argparse
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.command_line import CommandParser
from service.commands import parsers as command_parsers
from service.commands.parsers import KEYS_VARIABLE
from service.server import ports
from service.server.parent_process import LAUNCHER_VARIABLE
from service.server.tls_files import TlsError, TlsFiles

READY_SECONDS = 120.0
KEYS_NOTE = """
Serving at {url}; stop with Ctrl+C. Requests need a key, which `python -m service keys create NAME` prints:

curl -s {url}/models -H "Authorization: Bearer $KEY"
"""
EPILOG = (
    "All other settings are environment variables: docs/settings.md. "
    "also: python -m service promote|rollback|alias|canary|shadow|status|audit|verify|sign|push|drift|keys|erase --help"
)


def main(words: Sequence[str] | None = None, program: str = "python -m service") -> int:
    """Run the named command; without a command, start the server."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] in PARSERS:
        from service.commands import dispatch  # imports the store

        return dispatch.run(words[0], words[1:], program)
    return serve(words, program)


def serve(words: Sequence[str], program: str) -> int:
    """Start the server, print example requests, and wait until it stops."""
    parser = serve_parser(program)
    arguments = parser.parse_args(words)
    if not 1 <= arguments.port <= 65535:
        parser.error(f"--port {arguments.port}: expected 1 to 65535")
    files = tls_files(arguments, parser)
    if why := ports.conflict(arguments.host, arguments.port):
        another = arguments.port + 1
        print(f"error: {why}; choose another: --port {another}, make serve PORT={another}", file=sys.stderr)
        return 2
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "service.app:Tabserve",
        "--host",
        arguments.host,
        "--port",
        str(arguments.port),
        *(files.options if files else ()),
    ]
    root = Path(__file__).resolve().parents[1]
    # The server runs in its own session: otherwise Ctrl+C would stop all workers before they finish their requests.
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True", LAUNCHER_VARIABLE: str(os.getpid())}
    if (place := environment.get("TABSERVE_CAPTURE", "").strip()) and "://" not in place:
        environment["TABSERVE_CAPTURE"] = str(Path(place).expanduser().absolute())  # the server runs in another folder
    server = subprocess.Popen(command, cwd=root, env=environment, start_new_session=True)
    forward_signals(server)
    address = "127.0.0.1" if arguments.host in ("0.0.0.0", "::") else arguments.host
    scheme = "http" if files is None else "https"
    url = f"{scheme}://{f'[{address}]' if ':' in address else address}:{arguments.port}"
    try:
        if files is not None and files.ca_certs:
            print(f"\nServing at {url}; each client needs a certificate; stop with Ctrl+C.\n", flush=True)
        elif wait_until_ready(url, server):
            with_keys = os.environ.get(KEYS_VARIABLE, "").strip()
            print(KEYS_NOTE.format(url=url) if with_keys else example_requests(url), flush=True)
    except (OSError, ValueError, LookupError) as error:  # the server keeps running
        print(f"note: no example requests, {url}/models cannot be read: {error}", file=sys.stderr)
    return max(server.wait(), 0)  # a negative exit code is the number of the signal that stopped the server


def tls_files(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> TlsFiles | None:
    """The TLS files from the arguments; None without TLS. Exits with an error message if they cannot be used."""
    certfile, keyfile, ca_certs = (
        path and os.path.abspath(path)
        for path in (arguments.ssl_certfile, arguments.ssl_keyfile, arguments.ssl_ca_certs)
    )
    if not certfile:
        if keyfile or ca_certs:
            parser.error("--ssl-keyfile and --ssl-ca-certs need --ssl-certfile")
        return None
    files = TlsFiles(certfile, keyfile, ca_certs)
    try:
        files.check()
    except TlsError as error:
        parser.error(str(error))
    return files


def forward_signals(server: "subprocess.Popen[bytes]") -> None:
    """Stop the server gracefully at a signal, and immediately at a second Ctrl+C."""
    received: list[int] = []

    def on_signal(number: int, frame: Any) -> None:
        server.send_signal(signal.SIGINT if number == signal.SIGINT and received else signal.SIGTERM)
        received.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)


def serve_parser(program: str = "python -m service") -> argparse.ArgumentParser:
    parser = CommandParser(
        program, description="Serve the stored models on loopback and print three example requests.", epilog=EPILOG
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all networks (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=3000, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--ssl-certfile", metavar="FILE", help="serve HTTPS with this certificate (PEM, with its chain)"
    )
    parser.add_argument(
        "--ssl-keyfile", metavar="FILE", help="its private key (default: in the file of the certificate)"
    )
    parser.add_argument(
        "--ssl-ca-certs", metavar="FILE", help="require certificates of clients that these authorities have signed"
    )
    return parser


PARSERS = {"": serve_parser, **command_parsers.PARSERS}
"""The parser of each subcommand; the shell completion of `tabserve` reads them, too."""


def wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """Wait for a successful /readyz. Returns False if the server ends or READY_SECONDS pass."""
    deadline = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), get(f"{url}/readyz", 2) as response:
            if response.status == 200:
                return True
        time.sleep(0.1)
    return False


def example_requests(url: str) -> str:
    """Three example requests for the served models: a valid request, a request with two invalid rows, and the list of
    models."""
    models = fetch(f"{url}/models")["models"]
    name = models[0]["name"]
    row = fetch(f"{url}/models/{name}")["examples"][0]["row"]
    invalid = [{**row, next(iter(row)): []}, dict(list(row.items())[1:]) | {"typo": 1}]
    served = ", ".join(f"{model['name']}:{model['version']}" for model in models)
    return (
        f"\nServing {served} at {url}; documentation: {url}/ ; stop with Ctrl+C. Three example requests:\n\n"
        f"{curl(url, name, [row])}\n\n{curl(url, name, invalid)}\n\n{curl_command(url)} {url}/models\n"
    )


def curl(url: str, name: str, rows: list[dict[str, Any]]) -> str:
    """A curl command that predicts these rows."""
    body = json.dumps({"rows": rows}, ensure_ascii=False).replace("'", "'\\''")
    return f"{curl_command(url)} {url}/predict/{name} -H 'Content-Type: application/json' -d '{body}'"


def curl_command(url: str) -> str:
    """The start of a curl command. It does not check the certificate, which may be for another host name."""
    return "curl -s -k" if url.startswith("https:") else "curl -s"


def fetch(url: str) -> Any:
    """The JSON at a URL."""
    with get(url, 10) as response:
        return json.load(response)


def get(url: str, timeout: float) -> Any:
    """The response to a GET request. The certificate is not checked: it may be for another host name."""
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    return urllib.request.urlopen(url, timeout=timeout, context=context)


if __name__ == "__main__":
    sys.exit(main())
