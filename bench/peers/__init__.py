"""The servers that ours is measured beside, and ours: each in a folder of its own on one filesystem, on loopback, durable.

    with Postfix(folder, "hold", room=room) as server: server.port, server.roots

Without a room the machine's installed programs run (tests do that). `roots` are the processes whose trees are the server.
"""

from bench.peers.chasquid import Chasquid
from bench.peers.dovecot import Dovecot
from bench.peers.exim import Exim
from bench.peers.fancymail import ROOT, FancyMail
from bench.peers.opensmtpd import OpenSmtpd
from bench.peers.peer import Peer, free_port, fresh, wait_for_port, wait_until
from bench.peers.pair import PostfixDovecot
from bench.peers.postfix import Postfix

__all__ = ["ROOT", "Chasquid", "Dovecot", "Exim", "FancyMail", "OpenSmtpd", "Peer", "Postfix", "PostfixDovecot", "free_port", "fresh",
           "wait_for_port", "wait_until"]
