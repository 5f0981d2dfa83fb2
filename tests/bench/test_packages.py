"""The peers' packages: what is downloaded, and the accounts that are written; without apt and without a network."""

from __future__ import annotations

from bench import packages

SIMULATION = """Reading package lists...
Inst exim4-config (4.96-15 Debian:12 [all])
Inst exim4-base (4.96-15 Debian:12 [amd64])
Conf exim4-config (4.96-15 Debian:12 [all])
Remv postfix [3.7.11]
"""


def test_the_peer_and_what_is_missing_for_it():
    assert packages.wanted(SIMULATION, ("exim4-daemon-light", "exim4-base")) == ["exim4-daemon-light", "exim4-base", "exim4-config"]


def test_an_installed_peer_is_downloaded_all_the_same():
    assert packages.wanted("nothing to do\n", ("postfix",)) == ["postfix"]


def test_accounts_of_the_machine_stay_and_the_peers_have_one_line_each(tmp_path):
    packages._write_accounts(tmp_path)
    names = [line.split(":")[0] for line in (tmp_path / "passwd").read_text().splitlines()]
    assert "root" in names and all(names.count(account) == 1 for account in packages.ACCOUNTS)
    assert "postdrop:x:64102:" in (tmp_path / "group").read_text().splitlines()


def test_old_places_are_merged_into_usr(tmp_path):
    (tmp_path / "lib/systemd").mkdir(parents=True)
    (tmp_path / "lib/systemd/unit").write_text("x")
    packages._merge_usr(tmp_path)
    assert (tmp_path / "usr/lib/systemd/unit").read_text() == "x" and not (tmp_path / "lib").exists()
