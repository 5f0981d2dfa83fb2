"""fm-pop3: users fetch their mail. `daemon` has the ports, `session` one user's decisions, `letters` the way of a message to the client."""

from .daemon import Pop3Daemon

__all__ = ["Pop3Daemon"]
