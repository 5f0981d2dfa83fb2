"""`fmctl account|domain|alias|auth`: who may log in, where mail goes, and who must wait after failed logins.

All of it is fm-auth's verbs. Passwords are asked for, or read from standard input with --password-stdin; they are never taken as
an argument, where every user of the machine could read them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import click

from fancymail.cli.doors import Tool, failure, pass_tool
from fancymail.cli.terminal import duration, octets
from fancymail.ipc.message import IpcError

PAGE = 1000
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def register(group: click.Group) -> None:
    """Add the commands to fmctl."""
    for command in (account, domain, alias, auth):
        group.add_command(command)


class Size(click.ParamType):
    """A size: 1000000, 500M, 2G; gives octets."""

    name = "size"

    def convert(self, value, parameter, context) -> int:
        match = re.fullmatch(r"([0-9]{1,12})([kmgt]?)(i?b)?", str(value).lower())
        if match is None:
            self.fail(f"{value!r} is no size: 1000000, 500M, 2G", parameter, context)
        return int(match[1]) * UNITS[match[2]]


PASSWORD_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input (one line).")


def ask_password(from_stdin: bool) -> str:
    """Return a new password, typed twice or read from standard input."""
    if not from_stdin:
        return click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("there is no password on standard input")
    return password


def pages(tool: Tool, verb: str, domain_name: str) -> Iterator[list[str]]:
    """Yield the rows of a verb that lists in pages, as texts."""
    after = ""
    while True:
        rows = [[row.text(index) for index in range(len(row.params))] for row in tool.rows("auth", verb, domain_name, after, PAGE)]
        yield from rows
        if len(rows) < PAGE or rows[-1][0] == after:
            return
        after = rows[-1][0]


@click.group()
def account() -> None:
    """Add, change and list accounts."""


@account.command("add")
@click.argument("address")
@click.option("--quota", type=Size(), default=0, help="Octets of mail it may have (500M, 2G); 0: any number.")
@click.option("--no-password", is_flag=True, help="Nobody can log in until a password is set.")
@PASSWORD_STDIN
@pass_tool
def account_add(tool: Tool, address: str, quota: int, no_password: bool, password_stdin: bool) -> None:
    """Make an account; its domain must be ours."""
    password = "" if no_password else ask_password(password_stdin)
    made = tool.ask("auth", "account-add", address, password, quota)[0]
    tool.say(f"{made} is there", account=made)


@account.command("password")
@click.argument("user")
@PASSWORD_STDIN
@pass_tool
def account_password(tool: Tool, user: str, password_stdin: bool) -> None:
    """Set a password."""
    name = tool.ask("auth", "account-password", user, ask_password(password_stdin))[0]
    tool.say(f"{name} has a new password", account=name)


@account.command("import")
@click.argument("file", type=click.File("r", errors="surrogateescape"))
@pass_tool
def account_import(tool: Tool, file) -> None:
    """Make accounts from lines `address:hash` (crypt formats, Dovecot's {SCHEME}); what is wrong with a line is said, the rest is done."""
    made, problems = 0, []
    with tool.open("auth") as client:
        for number, line in enumerate(file, 1):
            address, colon, rest = line.strip().partition(":")
            if not line.strip() or line.startswith("#"):
                continue
            try:
                if not colon:
                    raise IpcError("5.5.4", "no colon between address and hash")
                client.call("account-import", address, rest.partition(":")[0], timeout=tool.timeout)
                made += 1
            except (IpcError, UnicodeEncodeError) as error:
                problems.append(f"line {number}: {getattr(error, 'text', 'is not UTF-8')}")
    click.echo("\n".join(problems), err=True, nl=bool(problems))
    tool.say(f"accounts made: {made}, lines refused: {len(problems)}", made=made, problems=problems)
    sys.exit(1 if problems else 0)


@account.command("remove")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_tool
def account_remove(tool: Tool, user: str, yes: bool) -> None:
    """Remove an account. Its mail stays where it is."""
    if not yes:
        click.confirm(f"Remove the account {user}?", abort=True, err=True)
    name = tool.ask("auth", "account-remove", user)[0]
    tool.say(f"{name} is removed", account=name)


@account.command("enable")
@click.argument("user")
@pass_tool
def account_enable(tool: Tool, user: str) -> None:
    """Let a disabled account log in and receive again."""
    name = tool.ask("auth", "account-enable", user)[0]
    tool.say(f"{name} is enabled", account=name)


@account.command("disable")
@click.argument("user")
@pass_tool
def account_disable(tool: Tool, user: str) -> None:
    """Let nobody log in to an account and take no mail for it; nothing is lost."""
    name = tool.ask("auth", "account-disable", user)[0]
    tool.say(f"{name} is disabled", account=name)


@account.command("quota")
@click.argument("user")
@click.argument("size", type=Size())
@pass_tool
def account_quota(tool: Tool, user: str, size: int) -> None:
    """Set how much mail an account may have (500M, 2G); 0: any amount."""
    name = tool.ask("auth", "account-quota", user, size)[0]
    tool.say(f"{name} may have {octets(size) if size else 'any amount of mail'}", account=name, quota=size)


@account.command("list")
@click.option("--domain", "domain_name", default="", help="Of this domain only.")
@pass_tool
def account_list(tool: Tool, domain_name: str) -> None:
    """List accounts."""
    found = [{"address": address, "enabled": enabled == "1", "quota": int(quota)}
             for address, enabled, quota in pages(tool, "account-list", domain_name)]
    rows = [(each["address"], "yes" if each["enabled"] else "no", octets(each["quota"]) if each["quota"] else "-") for each in found]
    tool.show("", ["account", "enabled", "quota"], rows, found)


@account.command("show")
@click.argument("user")
@pass_tool
def account_show(tool: Tool, user: str) -> None:
    """Show an account: what it is, what it may do, what kind of hash its password has."""
    facts = json.loads(tool.ask("auth", "account-show", user)[0])
    tool.show("", ["", ""], [(name, json.dumps(value) if isinstance(value, (list, dict)) else value) for name, value in facts.items()], facts)


RIGHT = click.Choice(("send", "act"))


@account.command("grant")
@click.argument("user")
@click.argument("right", type=RIGHT)
@click.argument("address")
@pass_tool
def account_grant(tool: Tool, user: str, right: str, address: str) -> None:
    """Let an account `send` as ADDRESS (or *@domain), or `act` as the account ADDRESS when it logs in."""
    tool.ask("auth", "grant", user, right, address)
    tool.say(f"{user} may {right} as {address}", account=user, right=right, address=address)


@account.command("revoke")
@click.argument("user")
@click.argument("right", type=RIGHT)
@click.argument("address")
@pass_tool
def account_revoke(tool: Tool, user: str, right: str, address: str) -> None:
    """Take a right back."""
    tool.ask("auth", "revoke", user, right, address)
    tool.say(f"{user} may no longer {right} as {address}", account=user, right=right, address=address)


@click.group()
def domain() -> None:
    """Add, remove and list our domains."""


@domain.command("add")
@click.argument("name")
@pass_tool
def domain_add(tool: Tool, name: str) -> None:
    """Make a domain ours: mail for it is taken."""
    made = tool.ask("auth", "domain-add", name)[0]
    tool.say(f"{made} is ours; `fmctl dns {made}` prints what its zone has to say", domain=made)


@domain.command("remove")
@click.argument("name")
@pass_tool
def domain_remove(tool: Tool, name: str) -> None:
    """Give up a domain that has no accounts and aliases any more."""
    gone = tool.ask("auth", "domain-remove", name)[0]
    tool.say(f"{gone} is no longer ours", domain=gone)


@domain.command("list")
@pass_tool
def domain_list(tool: Tool) -> None:
    """List our domains."""
    found = tool.ask("auth", "domain-list")
    tool.show("", ["domain"], [(name,) for name in found], found)


@click.group()
def alias() -> None:
    """Add, remove and list aliases."""


def alias_set(tool: Tool, address: str, targets: tuple[str, ...]) -> None:
    """Make or replace an alias: an address, a pattern with one `*`, or `@domain` for all the rest; TARGETS get its mail."""
    name = tool.ask("auth", "alias-add", address, *targets)[0]
    tool.say(f"{name} leads to {', '.join(targets)}", alias=name, targets=list(targets))


for word in ("add", "set"):
    targets = click.argument("targets", nargs=-1, required=True)
    alias.command(word, hidden=word == "set")(click.argument("address")(targets(pass_tool(alias_set))))


@alias.command("remove")
@click.argument("address")
@pass_tool
def alias_remove(tool: Tool, address: str) -> None:
    """Remove an alias."""
    tool.ask("auth", "alias-remove", address)
    tool.say(f"{address} is removed", alias=address)


@alias.command("list")
@click.option("--domain", "domain_name", default="", help="Of this domain only.")
@pass_tool
def alias_list(tool: Tool, domain_name: str) -> None:
    """List aliases."""
    found = [{"alias": row[0], "targets": row[1:]} for row in pages(tool, "alias-list", domain_name)]
    tool.show("", ["alias", "leads to"], [(each["alias"], ", ".join(each["targets"])) for each in found], found)


@click.group()
def auth() -> None:
    """Look at failed logins and forget them; check a login."""


@auth.command("bans")
@pass_tool
def auth_bans(tool: Tool) -> None:
    """List who must wait after failed logins."""
    found = [dict(zip(("kind", "name", "failures", "seconds"), (row.text(0), row.text(1), int(row.text(2)), int(row.text(3)))))
             for row in tool.rows("auth", "bans")]
    tool.show("", ["kind", "name", "failures", "waits"], [(*list(each.values())[:3], duration(each["seconds"])) for each in found], found)


@auth.command("unban")
@click.argument("name")
@pass_tool
def auth_unban(tool: Tool, name: str) -> None:
    """Forget the failed logins of an account or an address; `*`: of all."""
    count = int(tool.ask("auth", "unban", name)[0])
    tool.say(f"forgotten: {count}", forgotten=count)


@auth.command("check")
@click.argument("user")
@PASSWORD_STDIN
@pass_tool
def auth_check(tool: Tool, user: str, password_stdin: bool) -> None:
    """Tell whether a password is right."""
    password = ask_password(True) if password_stdin else click.prompt("Password", hide_input=True, err=True)
    with tool.open("auth") as client:
        try:
            name = client.call("auth", user, password, timeout=tool.timeout)[0].decode()
        except IpcError as error:
            raise failure(error) from None
    tool.say(f"right: {name}", account=name)
