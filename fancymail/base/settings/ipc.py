"""How the daemons reach each other, here and on other machines, and what attached programs may say."""

from __future__ import annotations

import functools
from typing import Annotated

from .section import Section, say

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
Endpoint = Annotated[str, say("A ZeroMQ endpoint.", pattern=r"^(tcp://[^\s/]+:[0-9]{1,5}|ipc://.+)$")]
PublicKey = Annotated[str, say("A CURVE public key in Z85.", min_length=40, max_length=40)]
Grant = Annotated[str, say("A verb as daemon.verb, or daemon.*", pattern=r"^[a-z0-9]+\.([a-z-]+|\*)$")]


class Ipc(Section):
    """The conversation between the daemons."""

    deadline: Annotated[float, say("Seconds after which a request that got no answer is an error.", gt=0)] = 10.0
    poll_interval: Annotated[float, say("Seconds between two looks of an idle daemon for work whose alert was lost.", gt=0)] = 15.0
    operators: Annotated[tuple[int, ...], say("User ids, besides the suite's own and root, that may use the operator's doors.")] = ()
    listen: Annotated[dict[str, Endpoint], say(
        "Doors beyond this machine, by daemon, as tcp://address:port; they speak CURVE only, to the keys in `allow` and in STATE/keys.")] = {}
    peers: Annotated[dict[str, Endpoint], say("Where daemons that run on another machine are found, by daemon.")] = {}
    peer_keys: Annotated[dict[str, PublicKey], say("The CURVE public keys of the daemons in `peers`, by daemon.")] = {}
    allow: Annotated[dict[str, tuple[PublicKey, ...]], say("CURVE public keys of attached programs, by the role that each key speaks for.")] = {}
    grants: Annotated[dict[str, tuple[Grant, ...]], say(
        "Verbs that further roles may say, as daemon.verb: `grants.archiver = [\"queue.pop\", \"queue.subscribe\"]`.")] = {}

    def __post_init__(self) -> None:
        keys = [(f"allow.{role}", key) for role, keys in self.allow.items() for key in keys]
        for where, key in [*keys, *((f"peer-keys.{daemon}", key) for daemon, key in self.peer_keys.items())]:
            if not _is_key(key):
                raise ValueError(f"{where}: {key} is no key in Z85")


def _is_key(text: str) -> bool:
    """Whether each five letters are a number of 32 bits (32/Z85 of ZeroMQ)."""
    numbers = [functools.reduce(lambda number, letter: 85 * number + LETTERS.find(letter), text[start:start + 5], 0) for start in range(0, 40, 5)]
    return set(text) <= set(LETTERS) and max(numbers) < 2**32
