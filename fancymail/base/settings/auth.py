"""How accounts are found, passwords kept and checked, and failed logins slowed down."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section, check_networks, say

Network = Annotated[str, say("An address or a network, as 192.0.2.0/24 or 2001:db8::/32.", pattern=r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")]
Mechanism = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]


class Issuer(Section):
    """Somebody whose OAuth tokens open accounts here (OAUTHBEARER, XOAUTH2): JWTs that are signed with one of its public keys."""

    issuer: Annotated[str, say("The `iss` of its tokens, to the letter.", min_length=1)]
    audience: Annotated[str, say("What has to be among the `aud` of a token: our name there.", min_length=1)]
    keys_file: Annotated[str, say("Its public keys: the file of a JWK Set, below the state folder if relative; read again at a reload.")] = ""
    keys: Annotated[str, say("Or the JWK Set itself, as JSON.")] = ""
    claim: Annotated[str, say("The claim that names the account, by its address or by its user name.", min_length=1)] = "email"
    scope: Annotated[str, say("A scope that a token must have; empty: none.")] = ""

    def __post_init__(self) -> None:
        if bool(self.keys_file) == bool(self.keys):
            raise ValueError("give either keys-file or keys")


class Auth(Section):
    """Accounts, domains, aliases and logins."""

    tag_separator: Annotated[str, say(
        "What begins a tag: alice+news@ is alice@. Empty: there are no tags.", pattern=r"^[+=_-]?$")] = "+"
    postmaster: Annotated[str, say(
        "Who reads mail for postmaster and abuse of domains that have neither; empty: postmaster of the default domain, else the first account.",
        pattern=r"^([^\s@]+@[^\s@]+)?$")] = ""
    alias_depth: Annotated[int, say("Aliases that may lead to each other in a chain.", ge=1, le=50)] = 10
    alias_width: Annotated[int, say("Addresses that one alias may stand for.", ge=1, le=1000)] = 1000

    mechanisms: Annotated[tuple[Mechanism, ...], say("SASL mechanisms that are taken; SCRAM keys are kept for those named here.")] = (
        "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
    oauth: Annotated[dict[str, Issuer], say("Issuers of OAuth tokens, each under a name of your choice.")] = {}
    plaintext: Annotated[bool, say(
        "Take passwords that cross a network without TLS; for tests and closed networks only. Loopback always may.")] = False
    shortest_password: Annotated[int, say("Characters that a new password has at least.", ge=1, le=64)] = 8
    argon2_memory: Annotated[int, say("KiB of memory for each password check (argon2id).", ge=8, le=262_144)] = 19_456
    argon2_passes: Annotated[int, say("Passes over that memory.", ge=1, le=20)] = 2
    argon2_lanes: Annotated[int, say("Lanes of that memory; more than one takes more threads for each check.", ge=1, le=8)] = 1
    scram_iterations: Annotated[int, say(
        "Iterations of SCRAM keys; every login of a client costs it as many. Keys of another count are renewed at a login with PLAIN.",
        ge=4096, le=1_000_000)] = 10_000

    workers: Annotated[int, say("Passwords that are checked at the same time; 0: as many as there are processors.", ge=0, le=64)] = 0
    waiting: Annotated[int, say("Password checks that may wait for a worker; beyond that, logins are put off (4.7.0).", ge=1, le=10_000)] = 64
    remember: Annotated[float, say("Seconds for which a right password need not be hashed again; 0: never.", ge=0, le=3600)] = 60.0
    failure_delay: Annotated[float, say(
        "Seconds after which a failed login is answered (or a multiple): the same for everybody, so it tells nothing.", ge=0, le=30)] = 0.5
    exchanges: Annotated[int, say("SASL exchanges that may be under way.", ge=10, le=1_000_000)] = 10_000
    exchange_timeout: Annotated[float, say("Seconds in which a SASL exchange has to end.", gt=0, le=600)] = 60.0

    failures_per_account: Annotated[int, say("Failed logins to an account before it must wait.", ge=1)] = 10
    failures_per_address: Annotated[int, say("Failed logins from an address (/64 for IPv6) before it must wait.", ge=1)] = 20
    failures_per_trusted: Annotated[int, say(
        "Failed logins to an account from loopback and trusted networks, all together, before it must wait there.", ge=1)] = 100
    first_wait: Annotated[float, say("Seconds of the first wait; each further failure doubles it.", gt=0)] = 15.0
    longest_wait: Annotated[float, say("Seconds of the longest wait.", gt=0)] = 3600.0
    forget_failures: Annotated[float, say("Seconds without a failure after which all before are forgotten.", gt=0)] = 3600.0
    trusted: Annotated[tuple[Network, ...], say(
        "Networks (an administrator's, a webmail's) that are never made to wait, whatever accounts they try; loopback is always one.")] = ()

    def __post_init__(self) -> None:
        check_networks("trusted", self.trusted)
