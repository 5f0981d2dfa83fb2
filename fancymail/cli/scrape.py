"""`fmctl metrics`: the counters of all daemons as one Prometheus page, printed or served over HTTP.

Each daemon gives its own page; families of the same name are put together, as the format demands, and `fancymail_up` tells
who answered. The server answers GET /metrics, one request at a time, and asks the daemons anew each time.
"""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET6

import click

from fancymail.base.metrics import CONTENT_TYPE
from fancymail.cli.doors import DAEMON, Tool, pass_tool
from fancymail.cli.ready import running
from fancymail.ipc.message import IpcError
from fancymail.servers.running.sockets import split

PATIENCE = 3.0      # seconds that one daemon may take before the page says that it is down
SUFFIX = re.compile(r"_(bucket|sum|count)$")


def register(group: click.Group) -> None:
    """Add the command to fmctl."""
    group.add_command(metrics)


@click.command()
@click.argument("daemons", type=DAEMON, nargs=-1)
@click.option("--listen", metavar="ADDR:PORT", help="Serve the page at http://ADDR:PORT/metrics instead of printing it.")
@pass_tool
def metrics(tool: Tool, daemons: tuple[str, ...], listen: str | None) -> None:
    """Print the metrics of daemons in Prometheus text, or serve them."""
    chosen = daemons or tuple((running(tool.paths) or {}).get("daemons", tool.settings.server.daemons))
    if listen is None:
        click.echo(page(tool, chosen), nl=False)
        return
    try:
        server = make_server(tool, chosen, *split(listen))
    except (ValueError, OSError) as error:
        raise click.ClickException(f"--listen {listen}: {error}") from None
    click.echo(f"serving http://{listen}/metrics", err=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def page(tool: Tool, daemons: tuple[str, ...]) -> str:
    """Ask each daemon for its page and make one of them."""
    pages, alive = [], []
    for daemon in daemons:
        try:
            with tool.open(daemon) as client:
                pages.append(client.call("metrics", timeout=PATIENCE)[0].decode())
            alive.append((daemon, 1))
        except (IpcError, click.ClickException):
            alive.append((daemon, 0))
    lines = ["# TYPE fancymail_up gauge", *(f'fancymail_up{{daemon="{daemon}"}} {value}' for daemon, value in alive)]
    return "\n".join(lines) + "\n" + merge(pages)


def merge(pages: list[str]) -> str:
    """Put the lines of each metric family together under one TYPE line."""
    families: dict[str, list[str]] = {}
    types: dict[str, str] = {}
    for line in (line for text in pages for line in text.splitlines()):
        if line.startswith("# TYPE "):
            types[line.split()[2]] = line
        elif line:
            name = line.partition("{")[0]
            family = name if name in types else SUFFIX.sub("", name)
            families.setdefault(family, []).append(line)
    return "".join("\n".join([types[family], *lines]) + "\n" for family, lines in sorted(families.items()) if family in types)


def make_server(tool: Tool, daemons: tuple[str, ...], host: str, port: int) -> HTTPServer:
    """Return a server of the page. Raises OSError."""

    class Handler(BaseHTTPRequestHandler):
        """Answers GET /metrics; everything else is 404."""

        server_version, sys_version, timeout = "FancyMail", "", 5

        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/", "/metrics"):
                self.send_error(404)
                return
            body = page(tool, daemons).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Scrapes are no news."""

    class Server(HTTPServer):
        """HTTPServer that speaks IPv6 where the address does."""

        address_family = AF_INET6 if ":" in host else HTTPServer.address_family

    return Server((host, port), Handler)
