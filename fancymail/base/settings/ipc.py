"""How the daemons reach each other: limits and deadlines of the conversation, and doors beyond this machine."""

from __future__ import annotations

from typing import Annotated

from .section import Section, say

Endpoint = Annotated[str, say("A ZeroMQ endpoint.", pattern=r"^(tcp://[^\s/]+:[0-9]{1,5}|ipc://.+)$")]
PublicKey = Annotated[str, say("A CURVE public key in Z85.", min_length=40, max_length=40)]


class Ipc(Section):
    """The conversation between the daemons."""

    deadline: Annotated[float, say("Seconds after which a request that got no answer is an error.", gt=0)] = 30.0
    retry: Annotated[float, say("Seconds without an answer after which a request is sent again with the same tag.", gt=0)] = 5.0
    high_water_mark: Annotated[int, say(
        "Messages that may wait for one peer before the sender is held back.", ge=1)] = 10_000
    max_message: Annotated[int, say(
        "Octets of the largest message that a daemon accepts from a peer.", ge=65_536)] = 8_388_608
    handshake_timeout: Annotated[float, say("Seconds a peer gets to finish the CURVE handshake.", gt=0)] = 10.0
    poll_interval: Annotated[float, say(
        "Seconds between two looks of an idle daemon for work whose alert was lost.", gt=0)] = 15.0
    operators: Annotated[tuple[int, ...], say(
        "User ids, besides the suite's own and root, that may use the operator's doors.")] = ()
    listen: Annotated[dict[str, Endpoint], say(
        "Doors beyond this machine, by daemon, as tcp://address:port; they speak CURVE only, to the keys in `allow`.")] = {}
    peers: Annotated[dict[str, Endpoint], say("Where daemons that run on another machine are found, by daemon.")] = {}
    peer_keys: Annotated[dict[str, PublicKey], say("The CURVE public keys of the daemons in `peers`, by daemon.")] = {}
    allow: Annotated[dict[str, tuple[PublicKey, ...]], say(
        "CURVE public keys of foreign clients, by the role that each key may speak for.")] = {}
