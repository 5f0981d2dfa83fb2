"""`fmctl listen DAEMON TOPIC`: subscribe to alerts and print them as they come.

An alert is a hint that something is new under a topic; the daemon connects back to a socket that is made here, in the private
run/ folder. The subscription is renewed, so that it survives a restart of the daemon, and ended at the end.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

import click
import zmq

from fancymail.cli.doors import DAEMON, Tool, failure, pass_tool
from fancymail.cli.terminal import json_line, printable
from fancymail.ipc.message import IpcError
from fancymail.ipc.security import prepare

RENEWAL = 5.0      # seconds between two subscriptions, as daemons do


def register(group: click.Group) -> None:
    """Add the command to fmctl, under both its names."""
    group.add_command(listen)
    group.add_command(listen, "subscribe")


@click.command()
@click.argument("daemon", type=DAEMON)
@click.argument("topics", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(1), help="End after so many alerts.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
@pass_tool
def listen(tool: Tool, daemon: str, topics: tuple[str, ...], count: int | None, seconds: float | None) -> None:
    """Subscribe to topics of a daemon and print each alert: `fmctl listen queue incoming`. Ctrl-C ends."""
    path = tool.paths.run / f"fmctl-{os.getpid()}.ipc"
    callback = f"ipc://{path}"
    door = prepare(zmq.Context.instance().socket(zmq.ROUTER))
    door.bind(callback)
    try:
        with suppress(KeyboardInterrupt):
            _listen(tool, daemon, topics, callback, door, count, seconds)
    finally:
        _unsubscribe(tool, daemon, topics, callback)
        door.close(0)
        path.unlink(missing_ok=True)


def _listen(tool: Tool, daemon: str, topics: tuple[str, ...], callback: str, door: zmq.Socket, count: int | None,
            seconds: float | None) -> None:
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")
    _subscribe(tool, daemon, topics, callback, patient=False)
    click.echo(f"listening to fm-{daemon}: {', '.join(topics)}", err=True)
    renewal, seen = time.monotonic() + RENEWAL, 0
    while (now := time.monotonic()) < deadline and (count is None or seen < count):
        if now >= renewal:
            _subscribe(tool, daemon, topics, callback, patient=True)
            renewal = now + RENEWAL
        if door.poll(max(0, int((min(renewal, deadline) - time.monotonic()) * 1000))):
            seen += _print(tool, door.recv_multipart())


def _print(tool: Tool, frames: list[bytes]) -> int:
    """Print one alert; 0 when the message was none."""
    if len(frames) < 5 or frames[3] != b"alert":
        return 0
    topic = frames[4].decode("utf-8", "backslashreplace")
    moment = time.strftime("%H:%M:%S")
    click.echo(json_line({"verb": "alert", "params": [topic], "time": time.time()}) if tool.as_json else f"{moment} alert: {printable(topic)}")
    return 1


def _subscribe(tool: Tool, daemon: str, topics: tuple[str, ...], callback: str, patient: bool) -> None:
    try:
        with tool.open(daemon) as client:
            for topic in topics:
                client.call("subscribe", topic, callback, timeout=RENEWAL)
    except (IpcError, click.ClickException) as error:
        if not patient:
            raise error if isinstance(error, click.ClickException) else failure(error) from None


def _unsubscribe(tool: Tool, daemon: str, topics: tuple[str, ...], callback: str) -> None:
    with suppress(IpcError, click.ClickException):
        with tool.open(daemon) as client:
            for topic in topics:
                client.call("unsubscribe", topic, callback, timeout=1)
