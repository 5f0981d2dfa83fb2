"""Run `fancymail` with stand-ins for auth, queue and smtpin: real daemons with a door each, and nothing behind it.

Started as a program by test_suite.py. The stand-in smtpin listens, and answers every connection with its pid.
"""

import os
import sys
import types

from fancymail.cli.suite import main
from fancymail.ipc.message import IpcError
from fancymail.ipc.verb import Text, verb
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.running.sockets import listening


class FakeAuth(Daemon):
    """Knows only what it is told."""

    name = "auth"
    known: set[str] = set()

    @verb(name="domain-list")
    def domain_list(self) -> list[str]:
        """List domains."""
        return [name for name in self.known if "@" not in name]

    @verb(name="domain-add")
    def domain_add(self, name: Text) -> None:
        """Add a domain."""
        self.known.add(name)

    @verb
    def verify(self, user: Text) -> None:
        """Tell whether a user exists."""
        if user not in self.known:
            raise IpcError("5.1.1", "no such user")

    @verb(name="account-add")
    def account_add(self, address: Text, password: Text) -> None:
        """Add an account."""
        self.known.add(address)
        self.log.info("account", address=address)


class FakeQueue(Daemon):
    """Dies when told to, and not when it should if told so; knows the settings that it was started with."""

    name = "queue"

    @verb()
    def hostname(self) -> str:
        """Tell a setting."""
        return self.settings.server.hostname

    @verb()
    def die(self) -> None:
        """End at once."""
        os._exit(9)

    @verb()
    def hang(self) -> None:
        """Ignore SIGTERM from now on."""
        self.stop = lambda: None
        self.loop.add_signal_handler(15, lambda: None)


class FakeSmtpIn(Daemon):
    """Answers with its pid."""

    name = "smtpin"

    async def started(self) -> None:
        self.door = listening(self.settings.smtpin.listen_smtp[0])
        self.loop.add_reader(self.door, self.accept)

    def accept(self) -> None:
        peer, _ = self.door.accept()
        peer.sendall(b"%d\n" % os.getpid())
        peer.close()


for fake in (FakeAuth, FakeQueue, FakeSmtpIn):
    module = types.ModuleType(f"fancymail.servers.{fake.name}")
    setattr(module, fake.__name__, fake)
    sys.modules[module.__name__] = module

main()
