"""`fmctl docs` and `fmctl dns`: what is written from the code, and what a domain has to publish.

`docs` rewrites etc/fancymail.toml and the generated parts of docs/ in the checkout; the tests compare them. `dns` prints zone
lines for a domain from the configuration and the certificate; it asks no name server and changes nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fancymail.base.settings.reference import reference_text
from fancymail.cli.doors import Tool, pass_tool
from fancymail.ipc.reference import render_page
from fancymail.mail.domain import DomainError, parse_domain
from fancymail.servers.running.daemon import Daemon
from fancymail.servers.running.launch import DAEMONS, daemon_class
from fancymail.servers.running.sockets import split, unix_path

CHECKOUT = Path(__file__).parents[2]
TIME_TO_LIVE = 3600
SERVICES = (          # RFC 6186, RFC 8314: (SRV label, section, option)
    ("_submissions", "smtpin", "listen_submissions"), ("_submission", "smtpin", "listen_submission"),
    ("_imaps", "imap", "listen_imaps"), ("_imap", "imap", "listen_imap"),
    ("_pop3s", "pop3", "listen_pop3s"), ("_pop3", "pop3", "listen_pop3"))


def register(group: click.Group) -> None:
    """Add the commands to fmctl."""
    group.add_command(docs)
    group.add_command(dns)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when something is out of date.")
@pass_tool
def docs(tool: Tool, check: bool) -> None:
    """Rewrite what is generated from the code: etc/fancymail.toml and the tables of docs/ipc.md."""
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if check and stale:
        raise click.ClickException("out of date, run fmctl docs: " + ", ".join(str(path.relative_to(CHECKOUT)) for path in stale))
    for path in stale:
        path.write_text(generated()[path])
    names = [str(path.relative_to(CHECKOUT)) for path in stale]
    tool.say(f"rewritten: {', '.join(names)}" if names else "all up to date", rewritten=names)


def generated() -> dict[Path, str]:
    """Return the files of the checkout that have generated parts, with the text that they should have."""
    page = CHECKOUT / "docs" / "ipc.md"
    classes = {name: daemon_class(name) for name in DAEMONS}
    return {CHECKOUT / "etc" / "fancymail.toml": reference_text(),
            page: render_page(page.read_text(), page.parent, classes, Daemon)}


@click.command()
@click.argument("domain")
@click.option("--address", "addresses", multiple=True, help="An address of this server, for its A or AAAA record; may be repeated.")
@pass_tool
def dns(tool: Tool, domain: str, addresses: tuple[str, ...]) -> None:
    """Print the DNS records that a domain has to publish so that its mail comes here and its users find us."""
    try:
        name = parse_domain(domain.strip("."))              # in A-labels: a zone knows no others
    except DomainError as error:
        raise click.BadParameter(str(error), param_hint="DOMAIN") from None
    if name.startswith("["):
        raise click.BadParameter("an address has no records", param_hint="DOMAIN")
    rows = records(tool, name, addresses)
    if tool.as_json:
        tool.show("", ["name", "type", "value", "why"], rows)
        return
    width = max(len(name) for name, *_ in rows)
    for name, kind, value, why in rows:
        click.echo(f"; {why}\n{name:<{width}} {TIME_TO_LIVE} IN {kind:<5} {value}")


def records(tool: Tool, domain: str, addresses: tuple[str, ...]) -> list[tuple[str, str, str, str]]:
    """Return (name, type, value, why) of each record, in the order in which one sets them up."""
    host = f"{tool.settings.server.hostname}."
    found = [(host, "AAAA" if ":" in address else "A", address, "where this server is; its reverse record (PTR) must name it as well")
             for address in addresses]
    found += [(f"{domain}.", "MX", f"10 {host}", "mail for the domain comes here (RFC 5321 5.1)"),
              (f"{domain}.", "TXT", '"v=spf1 mx -all"', "only this server sends for the domain (RFC 7208)"),
              (host, "TXT", '"v=spf1 a -all"', "and it greets by this name (RFC 7208 2.3)"),
              (f"_dmarc.{domain}.", "TXT", f'"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"',
               "what receivers do with forgeries, and where they report (RFC 7489)")]
    found += _tlsa(tool, host) + _services(tool, domain, host)
    return found


def _tlsa(tool: Tool, host: str) -> list[tuple[str, str, str, str]]:
    """DANE: only with DNSSEC, and only while the key stays the same (RFC 7672 3.1.1: usage 3, selector 1, SHA-256)."""
    path = tool.paths.state / tool.settings.tls.certificate
    try:
        key = x509.load_pem_x509_certificate(path.read_bytes()).public_key()
    except (OSError, ValueError):
        return []
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    return [(f"_25._tcp.{host}", "TLSA", f"3 1 1 {digest}", "the key of our certificate, if the zone is signed with DNSSEC (RFC 7672)")]


def _services(tool: Tool, domain: str, host: str) -> list[tuple[str, str, str, str]]:
    """Where mail programs find us; a service that we do not offer is said to be nowhere (RFC 2782: target ".")."""
    found = []
    for label, section, option in SERVICES:
        ports = [split(address)[1] for address in getattr(getattr(tool.settings, section, None), option, ()) if unix_path(address) is None]
        value = f"0 1 {ports[0]} {host}" if ports else "0 0 0 ."
        found.append((f"{label}._tcp.{domain}.", "SRV", value, "mail programs find their settings here (RFC 6186, RFC 8314)"))
    return found
