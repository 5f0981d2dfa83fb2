"""The conversation between the daemons: docs/ipc.md is its reference.

    message   verb and parameters, on the wire and as people write it
    verb      verbs declared on methods; validation
    wire      a ZeroMQ socket on the event loop
    server    doors, dispatch, answers         client, sync   asking
    security  keys, allow-list, socket options alerts, raw    subscriptions; octets in chunks
"""

from fancymail.ipc.message import IpcError, Reply
