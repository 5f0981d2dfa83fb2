"""Wrong configurations as data: each with every line that it must be answered with."""

from pathlib import Path

import pytest

from fancymail.base.settings import SettingsError, load_settings, parse_settings

WRONG = {
    "unknown option": ('[server]\nhostnam = "a"\n', ["server.hostnam: unknown option; did you mean 'hostname'?"]),
    "underscore for hyphen": ('[server]\ndefault_domain = "a"\n',
                              ["server.default_domain: unknown option; did you mean 'default-domain'?"]),
    "unknown section": ("[lgo]\n", ["lgo: unknown section; did you mean 'log'?"]),
    "nothing alike": ("[qwxyz]\n", ["qwxyz: unknown section"]),
    "not a table": ("server = 3\n", ["server: expected a table [server], got a number"]),
    "wrong type": ('[log]\nfile = "yes"\n', ["log.file: expected `bool`, got `str`"]),
    "no such choice": ('[log]\nlevel = "inf"\n',
                       ["log.level: invalid enum value 'inf'; one of debug, info, warning, error; did you mean 'info'?"]),
    "out of bounds": ("[server]\nstop-timeout = -1\n", ["server.stop-timeout: expected `float` > 0.0"]),
    "inside a table": ('[ipc.allow]\nqueue = ["short"]\n', ["ipc.allow.queue: [0]: expected `str` of length >= 40"]),
    "a key of a letter that none has": ('[ipc.allow]\nqueue = ["%s"]\n' % ("~" * 40), [f"ipc: allow.queue: {'~' * 40} is no key in Z85"]),
    "a key of a number that none has": ('[ipc.peer-keys]\nauth = "%s"\n' % ("#" * 40), [f"ipc: peer-keys.auth: {'#' * 40} is no key in Z85"]),
    "networks that there cannot be": (
        '[auth]\ntrusted = ["10.0.0.0/33"]\n[smtpin]\nproxies = ["300.1.1.1"]\n[pop3]\nproxies = ["1.2"]\n[imap]\nproxies = ["2001:db8::/129"]\n',
        ["auth: trusted: 10.0.0.0/33 is no network", "smtpin: proxies: 300.1.1.1 is no network", "pop3: proxies: 1.2 is no network",
         "imap: proxies: 2001:db8::/129 is no network"]),
    "a network that may relay": ('[smtpin]\nrelay-networks = ["::1::"]\n', ["smtpin: relay-networks: ::1:: is no network"]),
    "a nested table": ('[tls.domains."a.test"]\nkey = "k.pem"\nkeey = 1\n',
                       ['tls.domains."a.test".keey: unknown option; did you mean \'key\'?',
                        'tls.domains."a.test".certificate: is required']),
    "all at once": ('[server]\nhostname = 3\nuser = 4\n[log]\nlevel = true\n[x]\n',
                    ["server.hostname: expected `str`, got `int`", "server.user: expected `str`, got `int`",
                     "log.level: expected `str`, got `bool`", "x: unknown section"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_problem_is_named(name, tmp_path):
    text, expected = WRONG[name]
    file = tmp_path / "fancymail.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, tmp_path)
    assert [problem.removeprefix(f"{file}: ") for problem in caught.value.problems] == expected
    assert all(problem.startswith(str(file)) for problem in caught.value.problems)


@pytest.mark.parametrize("octets, reason", [
    (b"[server\n", "is not TOML: Expected ']' at the end of a table declaration (at line 1, column 8)"),
    (b'[server]\nhostname = "\xff"\n', "is not UTF-8 at octet 21"),
])
def test_a_file_that_is_not_toml(octets, reason, tmp_path):
    file = tmp_path / "x.toml"
    file.write_bytes(octets)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, tmp_path)
    assert caught.value.problems == [f"{file}: {reason}"]


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_settings(tmp_path / "absent.toml", tmp_path)


def test_no_file_means_defaults(tmp_path):
    settings = load_settings(None, tmp_path)
    assert settings.log.level == "info"
    assert settings.server.hostname, "the machine's own name is filled in"


@pytest.mark.parametrize("hostname, domain", [("mail.example.test", "example.test"), ("example.test", "example.test"),
                                              ("localhost", "localhost"), ("MAIL.Example.Test.", "example.test")])
def test_the_default_domain_follows_the_hostname(hostname, domain):
    if hostname.endswith("."):
        with pytest.raises(SettingsError):
            parse_settings({"server": {"hostname": hostname}}, "x")
        return
    server = parse_settings({"server": {"hostname": hostname}}, "x").server
    assert (server.hostname, server.default_domain) == (hostname.lower(), domain)


def test_what_is_said_is_taken(tmp_path):
    text = '[server]\nhostname = "mx.a.test"\ndefault-domain = "B.test"\n[log]\nformat = "json"\n'
    Path(tmp_path, "fancymail.toml").write_text(text)
    settings = load_settings(None, tmp_path)
    assert (settings.server.hostname, settings.server.default_domain, settings.log.format) == ("mx.a.test", "b.test", "json")
