"""Directories of servers of files, on real ones: rclone's SFTP and WebDAV, and OpenSSH's sftp-server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import paramiko
import pytest
from support.checks import assert_failed
from support.machine import Ended, Loop, Machine
from support.remotes import KINDS, PASSWORD, USER, serving, trust
from support.servers import S3Server
from support.trees import make_tree, snapshot

from s32s.backends.base import Backend
from s32s.backends.remote.backend import RemoteBackend
from s32s.core.errors import ConfigError, CredentialsError, NotFound, Unreachable
from s32s.testing import BackendContract, content, listed, put


@pytest.fixture
def server(moto: S3Server) -> S3Server:
    """That of the maps, which is another one."""
    return moto


@pytest.fixture(scope="module", params=list(KINDS))
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server, and the directory that it serves."""
    directory = tmp_path_factory.mktemp(request.param) / "served"
    directory.mkdir()
    with serving(request.param, directory) as url:
        yield url, directory


@pytest.fixture
def home(tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that knows the server."""
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    if remote[0].startswith("sftp"):
        trust(remote[0], made)
    return made


class TestRemote(BackendContract):
    """The contract, over every kind of server."""

    number: ClassVar[int] = 0

    @pytest.fixture
    def backend(self, remote: tuple[str, Path], home: Path) -> Backend:
        """A directory of its own, which nobody has made yet."""
        TestRemote.number += 1
        return RemoteBackend(f"{remote[0]}/place {TestRemote.number}/ä")

    def test_directories_come_and_go_with_what_is_in_them(self, backend: Backend) -> None:
        """A key is all that counts."""
        put(backend, "a/b/c/k", b"x")
        put(backend, "a/k", b"x")
        backend.delete(["a/b/c/k"])

        assert listed(backend) == {"a/k": 1}
        assert dict(backend.delete(["a/b/c/k"])) == {}

    def test_a_directory_that_somebody_has_removed_is_made_again(
        self, backend: Backend, remote: tuple[str, Path]
    ) -> None:
        """Although this process has made it before."""
        put(backend, "d/e/a", b"x")
        assert isinstance(backend, RemoteBackend)
        other = RemoteBackend(f"{remote[0]}/place {TestRemote.number}/ä")
        other.delete(["d/e/a"])
        put(backend, "d/e/b", b"y")

        assert listed(backend) == {"d/e/b": 1}

    def test_what_was_never_finished_is_not_seen(self, backend: Backend, remote: tuple[str, Path]) -> None:
        """And is removed where that is asked for."""

        def broken() -> Iterator[bytes]:
            yield b"half"
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backend.put("k", broken, size=8)
        put(backend, "d/.s32s-tmp-left", b"x")

        assert listed(backend) == {}
        assert isinstance(backend, RemoteBackend)
        backend.abort_uploads()
        with pytest.raises(NotFound):
            backend.head("d/.s32s-tmp-left")

    def test_only_unfinished_writes_of_some_keys_are_removed(self, backend: Backend) -> None:
        """Another tool may be writing the others."""
        assert isinstance(backend, RemoteBackend)
        left = {}
        for key in ("d/a", "d/b", "e/c"):
            mark = hashlib.sha256(key.encode()).hexdigest()[:16]
            left[key] = f"{key[0]}/.s32s-tmp-{mark}-left"
            put(backend, left[key], b"half")

        backend.abort_uploads(keys=["d/a"])

        with pytest.raises(NotFound):
            backend.head(left["d/a"])
        assert [backend.head(left[key]).size for key in ("d/b", "e/c")] == [4, 4]
        backend.abort_uploads()
        with pytest.raises(NotFound):
            backend.head(left["e/c"])

    def test_no_password_is_shown(self, backend: Backend) -> None:
        """Neither in the location nor in errors."""
        with pytest.raises(NotFound) as caught:
            content(backend, "none")
        assert "word" not in backend.location + str(caught.value)


def test_who_is_not_let_in(remote: tuple[str, Path], home: Path) -> None:
    """A wrong password is told as that."""
    backend = RemoteBackend(remote[0].replace("p%40ss%3Aword", "wrong") + "/x")

    with pytest.raises(CredentialsError, match="does not let this user in"):
        listed(backend)


def test_a_host_that_nobody_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what adds its key; another key than the known one is refused harder."""
    (tmp_path / "served").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving("rclone-sftp", tmp_path / "served") as url:
        with pytest.raises(ConfigError, match="ssh-keyscan"):
            listed(RemoteBackend(url))
        trust(url, tmp_path)
        assert listed(RemoteBackend(url)) == {}
        known = tmp_path / ".ssh/known_hosts"
        kind = known.read_text().split()[1]
        other = paramiko.RSAKey.generate(2048) if "rsa" in kind else paramiko.ECDSAKey.generate()
        known.write_text(f"{known.read_text().split()[0]} {other.get_name()} {other.get_base64()}\n")
        with pytest.raises(ConfigError, match=r"another host key|not known"):
            listed(RemoteBackend(url))


def test_hosts_and_passwords_of_the_users_own_files(
    remote: tuple[str, Path], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~/.ssh/config` gives a host a name, `~/.netrc` has the password of a WebDAV server."""
    url, _ = remote
    scheme, _, rest = url.partition("://")
    login, _, place = rest.partition("@")
    port = place.partition(":")[2].partition("/")[0]
    if scheme == "sftp":
        (home / ".ssh/config").write_text(f"Host web\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n")
        named = f"sftp://:{login.partition(':')[2]}@web/{place.partition('/')[2]}"
    else:
        (home / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        named = f"{scheme}://{place}"

    backend = RemoteBackend(f"{named.rstrip('/')}/by name")
    put(backend, "a", b"x")

    assert content(backend, "a") == b"x"


def test_a_key_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of `~/.ssh`, without a password."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "served").mkdir()
    with serving("openssh", tmp_path / "served") as url:
        trust(url, tmp_path)
        backend = RemoteBackend(url.replace(":p%40ss%3Aword", ""))
        with pytest.raises(CredentialsError):
            listed(backend)
        paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / ".ssh/id_ecdsa"))
        put(backend, "a", b"x")

        assert (tmp_path / "served/a").read_bytes() == b"x"


def test_a_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the moment, as far as anybody knows."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("sftp", "webdav"):
        with pytest.raises(Unreachable):
            listed(RemoteBackend(f"{kind}://me@127.0.0.1:1/x"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sftp:///x", "names no host"),
        ("sftp://h/a/../b", "must not contain"),
        ("sftp://h/a/%2e%2e/b", "must not contain"),
        ("webdav://h/a?b", "write %3F"),
        ("sftp://h/a#b", "write %23"),
    ],
)
def test_a_url_that_cannot_be_meant(tmp_path: Path, moto: S3Server, url: str, says: str) -> None:
    """With what would be right."""
    (tmp_path / "source").mkdir()
    assert_failed(Machine(tmp_path / "m", moto).run("sync", str(tmp_path / "source"), url), 2, says=says)


def test_options_that_its_library_does_not_have() -> None:
    """Are told as such."""
    with pytest.raises(ConfigError, match="bogus"):
        listed(RemoteBackend("sftp://u@127.0.0.1:1/x", bogus=1))


def test_any_file_system_of_fsspec_is_a_store() -> None:
    """By the URL of one that fsspec has itself."""
    backend = RemoteBackend("memory://place")
    put(backend, "a/b", b"x")

    assert (listed(backend), content(backend, "a/b")) == ({"a/b": 1}, b"x")
    with pytest.raises(ConfigError, match="does not reach"):
        RemoteBackend("nonsense://x")


TREE: dict[str, bytes | None] = {
    "index.html": b"hello",
    "css/site.css": b"body {}",
    "empty": None,
    "odd/ä %+#?": b"x",
    "big": b"b" * 3_000_000,
}
# Several connections make one directory at the same time.
TREE |= {f"many/{number % 3}/x/{number}": b"x" for number in range(60)}


@pytest.fixture
def machine(tmp_path: Path, home: Path, moto: S3Server) -> Machine:
    """A machine without a configuration, whose user knows the server."""
    made = Machine(tmp_path / "m", moto)
    made.extra = {"HOME": str(home)}
    made.config.unlink(missing_ok=True)
    return made


@pytest.mark.parametrize(
    "options", [(), ("--no-manifest",), ("--layout", "packed")], ids=["manifest", "plain", "packed"]
)
def test_a_directory_goes_there_and_comes_back(
    tmp_path: Path, machine: Machine, remote: tuple[str, Path], options: tuple[str, ...]
) -> None:
    """Exactly with a manifest or in packs, and as plain files without; what changes later follows."""
    source, back, url = tmp_path / "source", tmp_path / "back", f"{remote[0]}/{'-'.join(options) or 'with'}/site"
    make_tree(source, TREE)
    (source / "css/site.css").chmod(0o600)

    def both() -> list[Ended]:
        return [
            machine.run("sync", str(source), url, *options),
            machine.run("sync", url, str(back), *options),
        ]

    for _ in range(2):
        pushed, pulled = both()
        assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
        if "--no-manifest" in options:
            files = {path for path in TREE if TREE[path] is not None}
            assert {path: (back / path).read_bytes() for path in files if (source / path).exists()} == {
                path: (source / path).read_bytes() for path in files if (source / path).exists()
            }
            assert not any((back / path).exists() for path in files if not (source / path).exists())
        else:
            assert snapshot(back) == snapshot(source)
        assert "p@ss" not in pushed.err + pushed.out + pulled.out + pulled.err
        (source / "index.html").write_bytes(b"changed, and longer")
        (source / "css/site.css").unlink(missing_ok=True)
    pushed, pulled = both()
    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert (back / "index.html").read_bytes() == b"changed, and longer"
    assert not [name for _, _, names in os.walk(remote[1]) for name in names if name.startswith(".s32s-tmp-")]


def test_places_in_one_another_are_refused(machine: Machine, remote: tuple[str, Path]) -> None:
    """By their URLs."""
    assert_failed(machine.run("sync", f"{remote[0]}/a", f"{remote[0]}/a/b"), 3, says="overlap")
    assert_failed(machine.run("sync", f"{remote[0]}/a b", f"{remote[0]}/a%20b"), 3, says="overlap")


@pytest.mark.parametrize("layout", ["plain", "packed"])
def test_a_map_names_such_a_place(home: Path, loop: Loop, remote: tuple[str, Path], layout: str) -> None:
    """As a store of the configuration; what it cannot do is told once. In packs it keeps generations."""
    for machine in (loop.master, loop.slave):
        machine.extra = {"HOME": str(home)}
        with machine.config.open("a") as file:
            file.write(f'[stores.nas]\ntype = "fsspec"\nurl = "{remote[0]}/a%20store/{layout}"\n')
    loop.write_map(s3="nas:the site", layout=layout)
    make_tree(loop.source, TREE)

    looked, first, again = loop.master.run("dryrun"), loop.push(), loop.push()
    pulled = loop.pull()

    assert [end.status for end in (looked, first, again, pulled)] == [0, 0, 0, 0], looked.err + first.err + pulled.err
    assert [end.err.count("no conditional writes") for end in (looked, first, again)] == [1, 1, 0]
    assert snapshot(loop.target) == snapshot(loop.source)
    assert "up to date" in loop.slave.run("status").out
    inner = f"{remote[0]}/a%20store/{layout}/the%20site/x"
    assert_failed(loop.slave.run("sync", "nas:the site", inner), 3, says="overlap")
    if layout == "plain":
        return

    (loop.source / "index.html").write_bytes(b"changed, and longer")
    assert loop.push().status == 0
    for words in (("verify", "WEB"), ("rollback", "WEB"), ("prune", "WEB", "--keep", "1", "--yes")):
        ended = loop.master.run(*words)
        assert ended.status == 0, ended.err
    assert loop.pull().status == 0
    assert (loop.target / "index.html").read_bytes() == b"hello"
