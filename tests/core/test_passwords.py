"""Passwords: what is kept, what is read, what is refused, and that nobody costs as much as somebody."""

import base64
import hashlib

import bcrypt
import passlib.hash
import pytest

from fancymail.core import crypts
from fancymail.core.passwords import LONGEST, Credentials, PasswordRefused, Passwords
from fancymail.mail.scram import derive
from fancymail.storage.ports.accounts import Account

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def passwords():
    return Passwords(bytes(32), memory=64, passes=1, iterations=4096)


def account(credentials=None, **fields):
    given = {"password": credentials.password, "scram": credentials.scram} if credentials else {}
    return Account("alice@example.test", "alice@example.test", "example.test", **given, **fields)


def b64(octets):
    return base64.b64encode(octets).decode()


def test_a_made_password_is_argon2id_and_verifies(passwords):
    made = passwords.make(PASSWORD)
    assert made.password.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert passwords.verify(account(made), PASSWORD.encode()).right
    assert passwords.verify(account(made), PASSWORD.encode()).upgrade is None
    assert not passwords.verify(account(made), b"wrong horse").right
    assert passwords.scheme(account(made)) == "argon2"


def test_the_defaults_are_19_mib_two_passes():
    assert "$m=19456,t=2,p=1$" in Passwords(bytes(32)).make(PASSWORD).password


def test_scram_keys_are_of_the_same_password(passwords):
    made = passwords.make("pa\u0308ssword")
    assert set(made.scram) == {"SCRAM-SHA-256", "SCRAM-SHA-1"}
    for name, keys in made.scram.items():
        assert keys == derive(name, "p\u00e4ssword", keys.salt, 4096) and len(keys.salt) == 16


FOREIGN = {
    "sha512_crypt": passlib.hash.sha512_crypt.using(rounds=1000).hash(PASSWORD),
    "sha256_crypt": passlib.hash.sha256_crypt.using(rounds=1000).hash(PASSWORD),
    "md5_crypt": passlib.hash.md5_crypt.hash(PASSWORD),
    "apr_md5_crypt": passlib.hash.apr_md5_crypt.hash(PASSWORD),
    "bcrypt 2b": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "bcrypt 2y": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
    "pbkdf2_sha1": passlib.hash.pbkdf2_sha1.using(rounds=100).hash(PASSWORD),
    "pbkdf2_sha256": passlib.hash.pbkdf2_sha256.using(rounds=100).hash(PASSWORD),
    "pbkdf2_sha512": passlib.hash.pbkdf2_sha512.using(rounds=100).hash(PASSWORD),
    "ldap_pbkdf2_sha256": passlib.hash.ldap_pbkdf2_sha256.using(rounds=100).hash(PASSWORD),
    "ldap_pbkdf2_sha1": passlib.hash.ldap_pbkdf2_sha1.using(rounds=100).hash(PASSWORD),
    "scrypt": passlib.hash.scrypt.using(rounds=4).hash(PASSWORD),
    "argon2i": passlib.hash.argon2.using(type="I", memory_cost=32, time_cost=1, parallelism=1).hash(PASSWORD),
    "SSHA": passlib.hash.ldap_salted_sha1.hash(PASSWORD),
    "SSHA256": passlib.hash.ldap_salted_sha256.hash(PASSWORD),
    "SSHA512": passlib.hash.ldap_salted_sha512.hash(PASSWORD),
    "SMD5": passlib.hash.ldap_salted_md5.hash(PASSWORD),
    "SHA": passlib.hash.ldap_sha1.hash(PASSWORD),
    "MD5": passlib.hash.ldap_md5.hash(PASSWORD),
    "{CRYPT}": "{CRYPT}" + passlib.hash.sha512_crypt.using(rounds=1000).hash(PASSWORD),
    "{SHA512-CRYPT}": "{SHA512-CRYPT}" + passlib.hash.sha512_crypt.using(rounds=1000).hash(PASSWORD),
    "{BLF-CRYPT}": "{BLF-CRYPT}" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "{ARGON2ID}": "{ARGON2ID}" + passlib.hash.argon2.using(memory_cost=32, time_cost=1, parallelism=1).hash(PASSWORD),
    "{MD5} crypt": "{MD5}" + passlib.hash.md5_crypt.hash(PASSWORD),
    "{ssha512.hex}": "{ssha512.hex}" + (hashlib.sha512(PASSWORD.encode() + b"salt").digest() + b"salt").hex(),
    "{SHA256}": "{SHA256}" + b64(hashlib.sha256(PASSWORD.encode()).digest()),
    "{SHA256.HEX}": "{SHA256.hex}" + hashlib.sha256(PASSWORD.encode()).hexdigest(),
    "{SHA512}": "{SHA512}" + hashlib.sha512(PASSWORD.encode()).hexdigest(),
    "{PLAIN-MD5}": "{PLAIN-MD5}" + hashlib.md5(PASSWORD.encode()).hexdigest(),
    "{LDAP-MD5}": "{LDAP-MD5}" + b64(hashlib.md5(PASSWORD.encode()).digest()),
    "{PBKDF2}": "{PBKDF2}$1$saltsalt$100$" + hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), b"saltsalt", 100).hex(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_hash_is_read_and_upgraded(passwords, name):
    alice = account(passwords.bring(FOREIGN[name]))
    assert passwords.scheme(alice) not in ("", "unknown")
    assert not passwords.verify(alice, b"wrong horse").right
    verdict = passwords.verify(alice, PASSWORD.encode())
    assert verdict.right and verdict.upgrade.password.startswith("$argon2id$v=19$m=64,")
    assert passwords.verify(account(verdict.upgrade), PASSWORD.encode()).upgrade is None


def test_yescrypt_where_the_system_has_it(passwords):
    kept = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$zwtVrjrUCmXcyLTs6oxLTQlzifSUkF8RHJ./tK5KU79"
    alice = account(passwords.bring(kept))
    assert passwords.scheme(alice) == "yescrypt"
    if crypts._crypt(b"x", kept.encode()) is None:
        pytest.skip("this system's libcrypt has no yescrypt")
    assert passwords.verify(alice, PASSWORD.encode()).right and not passwords.verify(alice, b"wrong horse").right


def test_plain_is_hashed_at_once(passwords):
    made = passwords.bring("{PLAIN}" + PASSWORD)
    assert made.password.startswith("$argon2id$") and made.scram
    assert passwords.verify(account(made), PASSWORD.encode()).right


@pytest.mark.parametrize("text", [
    "", "x", "password", "5f4dcc3b5aa765d61d8327deb882cf99", "{NOPE}abc", "{SSHA}!!!!", "{SHA256}AAAA", "{SHA256}zz",
    "$6$rounds=999999999$salt$" + "a" * 86, "$2b$31$" + "a" * 53, "$2b$03$" + "a" * 53, "$2x$05$" + "a" * 53, "{CRYPT}abJnggxhB/yWI",
    "$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHQ$" + "a" * 43, "$argon2id$v=19$m=65536,t=1000,p=1$c2FsdHNhbHQ$" + "a" * 43,
    "$argon2id$", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ", "$scrypt$ln=24,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$" + "a" * 43,
    "$pbkdf2-sha256$900000000$aaaa$" + "a" * 43, "$y$jFT$salt$" + "a" * 43, "{PBKDF2}$1$salt$0$" + "a" * 40, "{PLAIN}short",
    "{PBKDF2}$1$salt$99999999$" + "a" * 40, "$1$", "{SSHA}", "{CRYPT}", "*", "!", "!!",
])
def test_what_is_no_usable_hash_is_refused(passwords, text):
    with pytest.raises(PasswordRefused):
        passwords.bring(text)


def test_bcrypt_counts_72_octets_and_never_fails_on_more(passwords):
    long = "x" * 72
    alice = account(passwords.bring(bcrypt.hashpw(long.encode(), bcrypt.gensalt(4)).decode()))
    assert passwords.verify(alice, (long + "tail").encode()).right
    assert not passwords.verify(alice, ("x" * 71 + "y").encode()).right


def test_our_own_hashes_have_no_end_at_72_octets_or_nul(passwords):
    alice = account(passwords.make("x" * 100))
    assert not passwords.verify(alice, b"x" * 99).right and not passwords.verify(alice, b"x" * 101).right
    assert not passwords.verify(alice, b"x" * 100 + b"\0").right


@pytest.mark.parametrize("password", ["", "short", "tab\there and more", "nul\0 and more", "x" * (LONGEST + 1), "\u00e4" * LONGEST])
def test_what_cannot_be_a_password(passwords, password):
    with pytest.raises(PasswordRefused):
        passwords.make(password)


@pytest.mark.parametrize("shown", [b"", b"\xff\xfe", b"a\0b", b"x" * (LONGEST + 1), b"x" * (1 << 20)])
def test_what_nobody_hashes(passwords, shown, monkeypatch):
    alice = account(passwords.make(PASSWORD))
    monkeypatch.setattr(passwords, "_matches", lambda *_: pytest.fail("it was hashed"))
    assert not passwords.verify(alice, shown).right


def test_typed_and_prepared_spellings_are_the_same_password(passwords):
    alice = account(passwords.make("I\u00adX\u00aa long enough"))
    for spelling in ("IXa long enough", "I\u00adX\u00aa long enough", "\u2168a long enough"):
        assert passwords.verify(alice, spelling.encode()).right


def test_a_foreign_hash_of_unprepared_octets_is_read_as_typed(passwords):
    typed = "stra\u00dfe \u2168 \u0007"
    alice = account(passwords.bring(passlib.hash.sha256_crypt.using(rounds=1000).hash(typed)))
    assert passwords.verify(alice, typed.encode()).right


def test_whoever_may_not_log_in_is_checked_all_the_same(passwords, monkeypatch):
    made, checked = passwords.make(PASSWORD), []
    real = passwords._matches
    monkeypatch.setattr(passwords, "_matches", lambda spelling, kept: checked.append(kept) or real(spelling, kept))
    for who in (None, account(), account(made, enabled=False)):
        assert not passwords.verify(who, PASSWORD.encode()).right
    assert len(checked) == 3 and set(checked) == {passwords._nobody}


def test_a_damaged_hash_fails_quietly(passwords):
    for kept in ("garbage", "$argon2id$v=19$m=64,t=1,p=1$", "$6$"):
        assert not passwords.verify(account(Credentials(kept, {})), PASSWORD.encode()).right
    assert passwords.scheme(account(Credentials("garbage", {}))) == "unknown"


def test_made_up_keys_look_like_real_ones_and_stay(passwords):
    made = passwords.make(PASSWORD)
    real, is_real = passwords.keys(account(made), "alice@example.test", "SCRAM-SHA-256")
    fake, is_fake_real = passwords.keys(None, "nobody@example.test", "SCRAM-SHA-256")
    assert is_real and not is_fake_real
    assert len(fake.salt) == len(real.salt) and fake.iterations == real.iterations
    assert passwords.keys(None, "nobody@example.test", "SCRAM-SHA-256") == (fake, False)
    assert passwords.keys(None, "other@example.test", "SCRAM-SHA-256")[0].salt != fake.salt
    assert passwords.keys(None, "nobody@example.test", "SCRAM-SHA-1")[0].salt != fake.salt
    assert Passwords(b"x" * 32, memory=64, passes=1).keys(None, "nobody@example.test", "SCRAM-SHA-256")[0].salt != fake.salt
    assert passwords.keys(account(made, enabled=False), "alice@example.test", "SCRAM-SHA-256")[1] is False
    assert passwords.keys(account(), "alice@example.test", "SCRAM-SHA-256")[1] is False


def test_changed_costs_are_taken_over_at_login(passwords):
    alice = account(passwords.make(PASSWORD))
    dearer = Passwords(bytes(32), memory=128, passes=1, iterations=4096)
    assert "$m=128," in dearer.verify(alice, PASSWORD.encode()).upgrade.password
    slower = Passwords(bytes(32), memory=64, passes=1, iterations=5000)
    assert slower.verify(alice, PASSWORD.encode()).upgrade.scram["SCRAM-SHA-1"].iterations == 5000
    with pytest.raises(ValueError):
        Passwords(bytes(32), iterations=4095)


def test_no_repr_shows_a_hash(passwords):
    made = passwords.make(PASSWORD)
    assert "argon2" not in repr(made) and "argon2" not in repr(passwords.verify(account(passwords.bring(FOREIGN["SHA"])), PASSWORD.encode()))


def test_every_readable_format_has_a_name():
    assert len({handler.name for handler in crypts.READABLE}) == len(crypts.READABLE)
