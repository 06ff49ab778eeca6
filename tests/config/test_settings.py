"""The configuration: where it is found, what it says, and how `configure` changes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from s32s.config import settings, settings_file
from s32s.config.settings import Directories
from s32s.core.errors import ConfigError
from s32s.core.guards import MaxDelete
from s32s.core.location import S3Path
from s32s.core.role import Role

SLAVE: dict[str, Any] = {"role": "slave", "maps": "bucket/maps", "allow": ["/srv"]}
NOBODY = 65534

checked = hypothesis_settings(max_examples=150, deadline=None, print_blob=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a configuration may stand."""
    return tmp_path / "s32s.toml"


@pytest.fixture
def not_root() -> Iterator[None]:
    """Another user than root, also where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    if before == 0:
        os.seteuid(0)


def wrong(document: dict[str, Any]) -> str:
    """What is said of a configuration that is wrong."""
    with pytest.raises(ConfigError) as caught:
        settings_file.check(document, where="s32s.toml")
    assert caught.value.exit_status == 2
    return str(caught.value)


# -- where it is found -----------------------------------------------------------------------------------------------


def test_the_option_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config` is taken before all else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s32s.toml").touch()

    assert settings_file.find("mine.toml", {"S32S_CONFIG": "/other.toml"}) == Path("mine.toml")


def test_the_environment_comes_before_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$S32S_CONFIG` is taken before ./s32s.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s32s.toml").touch()

    assert settings_file.find(None, {"S32S_CONFIG": "/other.toml"}) == Path("/other.toml")
    assert settings_file.find(None, {"S32S_CONFIG": ""}) == Path("s32s.toml")


def test_the_directory_comes_before_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./s32s.toml is taken where it is, also as a link to nowhere, which must not be passed over in silence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s32s.toml").symlink_to("nowhere")

    assert settings_file.find(None, {}) == Path("s32s.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="asks as root")
def test_root_has_the_systems_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's configuration, state and cache are the machine's."""
    monkeypatch.chdir(tmp_path)

    assert settings_file.find(None, {"XDG_CONFIG_HOME": "/x"}) == Path("/etc/s32s/s32s.toml")
    assert settings_file.directories({"XDG_STATE_HOME": "/x"}) == Directories(
        Path("/var/lib/s32s"), Path("/var/cache/s32s")
    )


@pytest.mark.usefixtures("not_root")
def test_others_have_the_places_of_xdg(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A user's configuration, state and cache are where XDG puts them."""
    environment = {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/k", "HOME": "/home/u"}

    assert settings_file.find(None, environment) == Path("/c/s32s/s32s.toml")
    assert settings_file.directories(environment) == Directories(Path("/s/s32s"), Path("/k/s32s"))


@pytest.mark.usefixtures("not_root")
@pytest.mark.parametrize("value", ["", "relative/path"])
def test_xdg_variables_that_are_not_absolute_are_ignored(value: str) -> None:
    """The specification has a fallback below the home directory."""
    environment = {"XDG_CONFIG_HOME": value, "XDG_STATE_HOME": value, "XDG_CACHE_HOME": value, "HOME": "/home/u"}

    assert settings_file.find(None, environment) == Path("/home/u/.config/s32s/s32s.toml")
    assert settings_file.directories(environment) == Directories(
        Path("/home/u/.local/state/s32s"), Path("/home/u/.cache/s32s")
    )


def test_systemd_says_where_state_and_cache_are() -> None:
    """`$STATE_DIRECTORY` and `$CACHE_DIRECTORY` come first, and of several directories the first is ours."""
    environment = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "CACHE_DIRECTORY": "/var/cache/a"}

    assert settings_file.directories(environment) == Directories(Path("/var/lib/a"), Path("/var/cache/a"))


# -- what it says ----------------------------------------------------------------------------------------------------


def test_the_configuration_of_the_design_is_read(file: Path) -> None:
    """The example in the contract has no problem, and each key arrives."""
    file.write_text(
        """
        role = "slave"
        maps = "bucketname/S32SMAP/foo/data"
        allow = ["/srv", "/var/www/"]   # a comment
        max_delete = "50%"
        list_every = "1h"

        [s3]
        endpoint_url = "http://127.0.0.1:9000"
        profile = "default"
        region = "eu-south-1"

        [commands]
        reload-nginx = "systemctl reload nginx"
        """
    )

    read = settings_file.load(file)

    assert (read.role, read.maps) == (Role.SLAVE, S3Path("bucketname", "S32SMAP/foo/data"))
    assert read.allow == ("/srv", "/var/www")
    assert (read.max_delete, read.list_every_s) == (MaxDelete(50, percent=True), 3600)
    assert (read.s3.endpoint_url, read.s3.profile, read.s3.region) == ("http://127.0.0.1:9000", "default", "eu-south-1")
    assert dict(read.commands) == {"reload-nginx": "systemctl reload nginx"}


def test_a_master_needs_only_role_and_maps() -> None:
    """All else has the design's own value."""
    read = settings_file.check({"role": "master", "maps": "bucket/maps"}, where="x")

    assert (read.allow, read.max_delete, read.list_every_s) == ((), MaxDelete(50, percent=True), 3600)
    assert (read.s3.endpoint_url, read.s3.profile, read.s3.region) == (None, None, None)


@pytest.mark.parametrize("allow", [None, []], ids=["missing", "empty"])
def test_a_slave_needs_allow(allow: list[str] | None) -> None:
    """No slave runs without a fence."""
    document = {key: value for key, value in (SLAVE | {"allow": allow}).items() if value is not None}

    assert 'a slave needs "allow"' in wrong(document)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("50%", MaxDelete(50, percent=True)),
        ("0%", MaxDelete(0, percent=True)),
        ("100%", MaxDelete(100, percent=True)),
        ("12.5%", MaxDelete(12.5, percent=True)),
        (" 5% ", MaxDelete(5, percent=True)),
        ("500", MaxDelete(500, percent=False)),
        (500, MaxDelete(500, percent=False)),
        (0, MaxDelete(0, percent=False)),
    ],
)
def test_max_delete_is_a_count_or_a_percentage(value: object, expected: MaxDelete) -> None:
    """Both may stand in the file, a count with and without quotes."""
    assert settings_file.check(SLAVE | {"max_delete": value}, where="x").max_delete == expected


@pytest.mark.parametrize(
    "value", ["", "%", "101%", "-1", "-5%", "5 percent", "5%%", "half", "1e3", -1, True, 0.5, [50]]
)
def test_another_max_delete_is_refused(value: object) -> None:
    """A limit that cannot be understood limits nothing, so it is an error."""
    assert "max_delete: " in wrong(SLAVE | {"max_delete": value})
    assert "neither a count, such as 500, nor a percentage" in wrong(SLAVE | {"max_delete": value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("90s", 90),
        ("90 s", 90),
        ("1sec", 1),
        ("30min", 1800),
        ("30m", 1800),
        ("1h", 3600),
        ("1.5h", 5400),
        ("2d", 172_800),
    ],
)
def test_a_duration_has_a_unit(text: str, expected: float) -> None:
    """Seconds, minutes, hours and days."""
    assert settings.duration_s(text) == expected
    assert settings_file.check(SLAVE | {"list_every": text}, where="x").list_every_s == expected


@pytest.mark.parametrize(
    "value", ["", "h", "1", "1 week", "-1h", "1h30m", "1H", "1h\n", "1h ", "x1h", "1,5h", 3600, 1.5, None, True]
)
def test_another_duration_is_refused(value: object) -> None:
    """A number without a unit is not a duration, and nothing is guessed."""
    with pytest.raises(ValueError, match="is not a duration"):
        settings.duration_s(value)


def test_never_is_for_ever() -> None:
    """`list_every = "never"` leaves the hourly comparison out."""
    assert settings_file.check(SLAVE | {"list_every": "never"}, where="x").list_every_s == float("inf")
    assert 'or "never"' in wrong(SLAVE | {"list_every": "sometimes"})


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param({"maps": "bucket/m"}, "role: it is mandatory and missing", id="no role"),
        pytest.param({"role": "master"}, "maps: it is mandatory and missing", id="no maps"),
        pytest.param(SLAVE | {"role": "slvae"}, '"slvae" is not a role; did you mean "slave"?', id="a role"),
        pytest.param(SLAVE | {"role": "slvae"}, 'did you mean "slave"?', id="a role that is nearly one"),
        pytest.param(SLAVE | {"role": 5}, "5 is not a role", id="a number as role"),
        pytest.param(SLAVE | {"role": ["slave"]}, "is not a role", id="a list as role"),
        pytest.param(SLAVE | {"maps": ""}, "maps: it must be the S3 path", id="no S3 path"),
        pytest.param(SLAVE | {"maps": "/srv/maps"}, "maps: ", id="a directory as maps"),
        pytest.param(SLAVE | {"maps": "bucket\n/m"}, "maps: ", id="a newline in a bucket"),
        pytest.param(SLAVE | {"allow": "/srv"}, "allow: it must be a list", id="a text as allow"),
        pytest.param(SLAVE | {"allow": ["/srv", "/"]}, 'allow: "/" cannot be allowed', id="the whole system as fence"),
        pytest.param(SLAVE | {"allow": ["/usr/"]}, "allow_system = true lifts this", id="a system directory as fence"),
        pytest.param(
            SLAVE | {"allow_system": "yes"}, "allow_system: it must be true or false", id="a text as allow_system"
        ),
        pytest.param(SLAVE | {"allow": ["srv"]}, '"srv" is not an absolute directory', id="a relative fence"),
        pytest.param(SLAVE | {"allow": [""]}, "is not an absolute directory", id="an empty fence"),
        pytest.param(SLAVE | {"allow": ["/srv/../etc"]}, 'contains ".."', id="a fence with a gap"),
        pytest.param(SLAVE | {"allow": [5]}, "is not an absolute directory", id="a number as fence"),
        pytest.param(SLAVE | {"jobs": 0}, "jobs: it must be a whole number from 1 to 512", id="no jobs"),
        pytest.param(SLAVE | {"jobs": 10_000}, "jobs: it must be a whole number from 1 to 512", id="too many jobs"),
        pytest.param(SLAVE | {"jobs": "8"}, "jobs: it must be a whole number from 1 to 512", id="a text as jobs"),
        pytest.param(SLAVE | {"keep": -1}, "keep: it must be a whole number from 0 to 100", id="fewer than no trees"),
        pytest.param(
            SLAVE | {"s3": {"addressing": "host"}},
            's3.addressing: it must be "auto", "path" or "virtual"',
            id="an unknown way of addressing",
        ),
        pytest.param(SLAVE | {"s3": {"endpoint_url": "127.0.0.1:9000"}}, "s3.endpoint_url: ", id="no URL"),
        pytest.param(SLAVE | {"s3": {"endpoint_url": "file:///x"}}, "s3.endpoint_url: ", id="another URL"),
        pytest.param(SLAVE | {"s3": {"endpoint_url": "http://nas:abc"}}, "s3.endpoint_url: ", id="a port of letters"),
        pytest.param(SLAVE | {"s3": {"profile": ""}}, "s3.profile: ", id="an empty profile"),
        pytest.param(SLAVE | {"s3": "eu"}, "s3: ", id="a text as table"),
        pytest.param(SLAVE | {"commands": {"a": ""}}, "commands.a: ", id="an empty command"),
        pytest.param(SLAVE | {"commands": {"a": 5}}, "commands.a: ", id="a number as command"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(document: dict[str, Any], text: str) -> None:
    """The message names the key and what would be right."""
    assert text in wrong(document)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"rolle": "slave"}, 'rolle: unknown key; did you mean "role"?'),
        ({"max-delete": "5%"}, 'max-delete: unknown key; did you mean "max_delete"?'),
        ({"list_every_s": 5}, 'list_every_s: unknown key; did you mean "list_every"?'),
        ({"command": {}}, 'command: unknown key; did you mean "commands"?'),
        ({"s3": {"endpoint": "http://x"}}, 's3.endpoint: unknown key; did you mean "endpoint_url"?'),
        ({"s3": {"reggion": "x"}}, 's3.reggion: unknown key; did you mean "region"?'),
        (
            {"stores": {"nas": {"type": "no.module"}}},
            'stores.nas.type: it must be "s3", "file", "fsspec", a name of a package\'s own, or "package.module:Class"',
        ),
        ({"stores": {"nas": {}}}, "stores.nas.type: it is mandatory and missing"),
        ({"stores": {"N A": {"type": "s3"}}}, "stores.N A: a store is named by lower-case letters"),
        ({"zzzz": 1}, "zzzz: unknown key; there are after_timeout, allow, allow_links, allow_system, bandwidth, "),
        ({"\x1b[2J": 1}, "\\x1b[2J: unknown key"),
    ],
)
def test_an_unknown_key_is_told_the_right_spelling(extra: dict[str, Any], text: str) -> None:
    """Unknown keys are errors, with the nearest known one."""
    assert text in wrong(SLAVE | extra)


def test_every_wrong_key_is_told_at_once() -> None:
    """Nobody mends a configuration mistake by mistake."""
    text = wrong({"role": "x", "allow": "x", "max_delete": "x", "list_every": "x", "jobs": 0, "zzzz": 1})

    for key in ("role", "maps", "allow", "max_delete", "list_every", "jobs", "zzzz"):
        assert f"\n  {key}: " in text


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(["role", "maps", "allow", "max_delete", "list_every", "jobs", "s3", "commands", "x"])


@checked
@given(st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.text(max_size=5), VALUES)))
def test_any_document_is_a_configuration_or_an_error_of_ours(document: dict[str, Any]) -> None:
    """No other exception comes out of a configuration."""
    with contextlib.suppress(ConfigError):
        settings_file.check(SLAVE | document, where="x")


# -- the file --------------------------------------------------------------------------------------------------------


def test_a_missing_file_says_how_to_make_one(file: Path) -> None:
    """The hint is a command."""
    with pytest.raises(ConfigError, match="s32s configure --role"):
        settings_file.load(file)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b'role = "slave', "is not valid TOML", id="an open quote"),
        pytest.param(b'role = "slave"\nrole = "master"\n', "is not valid TOML", id="a key twice"),
        pytest.param(b"role = slave\n", "line 1", id="no quotes"),
        pytest.param(b"\xff\xfe", "is not UTF-8", id="another encoding"),
        pytest.param(b"", "role: it is mandatory and missing", id="nothing"),
        pytest.param(b"a=" + b"[" * 10_000, "is not valid TOML", id="ten thousand brackets"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(file: Path, data: bytes, text: str) -> None:
    """Syntax errors are told with the file and the place."""
    file.write_bytes(data)

    with pytest.raises(ConfigError) as caught:
        settings_file.load(file)

    assert text in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    """What cannot be read is told as such."""
    with pytest.raises(ConfigError, match="cannot be read"):
        settings_file.load(tmp_path)


def test_a_file_that_every_user_may_write_is_refused(file: Path) -> None:
    """It names commands to run, so only its owner may write it."""
    settings_file.configure(file, SLAVE)
    file.chmod(0o646)

    with pytest.raises(ConfigError, match="every user may write") as caught:
        settings_file.load(file)

    assert caught.value.hint == f"chmod o-w {file}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    """Whoever owns it may write it at any time."""
    settings_file.configure(file, SLAVE)
    os.chown(file, NOBODY, -1)

    with pytest.raises(ConfigError, match="belongs to another user"):
        settings_file.load(file)


# -- configure -------------------------------------------------------------------------------------------------------


def test_configure_writes_what_load_reads(tmp_path: Path) -> None:
    """The first configuration is made with its directory."""
    file = tmp_path / "new" / "deep" / "s32s.toml"

    written = settings_file.configure(file, SLAVE | {"max_delete": "10%", "s3": {"region": "eu", "profile": None}})

    assert settings_file.load(file) == written
    assert (written.s3.region, written.s3.profile) == ("eu", None)
    assert os.listdir(file.parent) == ["s32s.toml"]


COMMENTED = """\
# the fence
allow = ["/srv"]   # never wider

role = "slave"
maps = "bucket/maps"

# S3 of the house
[s3]
region = "eu"      # near

[commands]
b = "two"
a = "one"
"""


def test_configure_keeps_comments_and_order(file: Path) -> None:
    """Only the named keys change, in their place."""
    file.write_text(COMMENTED)

    settings_file.configure(file, {"maps": "bucket/other", "role": None, "s3": {"region": "us", "profile": None}})

    assert file.read_text() == COMMENTED.replace("bucket/maps", "bucket/other").replace('"eu"', '"us"')


def test_configure_adds_a_key_where_it_belongs(file: Path) -> None:
    """A new top-level key does not fall into the table above it."""
    file.write_text(COMMENTED)

    written = settings_file.configure(file, {"max_delete": "5%", "s3": {"profile": "p"}})

    assert settings_file.load(file) == written
    assert (written.max_delete, written.s3.profile) == (MaxDelete(5, percent=True), "p")
    assert all(line in file.read_text().splitlines() for line in COMMENTED.splitlines())


@pytest.mark.parametrize("s3", ['s3.region = "eu"', 's3 = {region = "eu"}'], ids=["dotted", "in a line"])
def test_configure_knows_every_way_to_write_a_table(file: Path, s3: str) -> None:
    """A table in dotted keys or in one line is changed like another."""
    file.write_text(f'role = "master"\nmaps = "bucket/m"\n{s3}\n')

    written = settings_file.configure(file, {"s3": {"profile": "p"}})

    assert settings_file.load(file) == written
    assert (written.s3.region, written.s3.profile) == ("eu", "p")


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        pytest.param(COMMENTED, {"role": "slvae"}, id="an unknown role"),
        pytest.param(COMMENTED, {"allow": []}, id="a slave without a fence"),
        pytest.param(COMMENTED, {"colour": "red"}, id="an unknown key"),
        pytest.param(COMMENTED, {"s3": {"endpoint_url": "nowhere"}}, id="no URL"),
        pytest.param('role = "slave', SLAVE, id="a file with broken syntax"),
        pytest.param('s3 = 5\nrole = "master"\nmaps = "bucket/m"\n', {"s3": {"region": "eu"}}, id="no table"),
        pytest.param(COMMENTED + "[x]\n", {"maps": "bucket/m"}, id="a file that was wrong before"),
    ],
)
def test_a_wrong_result_writes_nothing(file: Path, before: str, changes: dict[str, Any]) -> None:
    """The configuration that was there stays, to the byte and to the inode."""
    file.write_text(before)
    inode = file.stat().st_ino

    with pytest.raises(ConfigError):
        settings_file.configure(file, changes)

    assert file.read_text() == before
    assert file.stat().st_ino == inode
    assert os.listdir(file.parent) == ["s32s.toml"]


def test_a_wrong_first_configuration_leaves_no_file(file: Path) -> None:
    """Not even an empty one."""
    with pytest.raises(ConfigError):
        settings_file.configure(file, {"role": "slave"})

    assert not file.exists()


@pytest.mark.parametrize("below", ["", "/inside"])
def test_configure_takes_no_link_as_allow(file: Path, tmp_path: Path, below: str) -> None:
    """Every run would refuse its targets; the real directory is named."""
    (tmp_path / "real/inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(ConfigError, match=f'symbolic link, which no run follows; name "{tmp_path}/real{below}"'):
        settings_file.configure(file, SLAVE | {"allow": [f"{tmp_path}/link{below}"]})

    assert not file.exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o644], ids=oct)
def test_configure_keeps_the_bits_of_the_file(file: Path, mode: int) -> None:
    """An administrator may have narrowed or widened them, whatever the umask of today is."""
    file.write_text(COMMENTED)
    file.chmod(mode)

    settings_file.configure(file, {"maps": "bucket/other"})

    assert file.stat().st_mode & 0o777 == mode


def test_every_home_directory_is_known() -> None:
    """No target is ever the home of a user of this machine."""
    assert os.path.expanduser("~root") in settings_file.homes()
