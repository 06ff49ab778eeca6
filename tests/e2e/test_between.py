"""Two places that somebody names: no map, no configuration, the same promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.checks import assert_failed
from support.machine import Ended, Machine
from support.servers import S3Server, get, keys, put
from support.trees import make_tree, snapshot

from s32s.backends.directory import DirectoryBackend
from s32s.core.guards import HALF, Limits
from s32s.core.plan import Verb
from s32s.core.rules import EVERYTHING
from s32s.replication.job import Job, RunContext
from s32s.replication.replicate import replicate
from s32s.stores.local.store import LocalStore
from s32s.stores.objects.publisher import Writer
from s32s.stores.objects.store import ObjectStore

TREE = {"index.html": b"hello", "css/site.css": b"body {}", "empty": None, "odd/ä %+": b"x"}


class Between:
    """A machine without a configuration, a directory and a bucket."""

    def __init__(self, root: Path, server: S3Server, bucket: str) -> None:
        self.machine = Machine(root / "m", server)
        self.server, self.bucket, self.root = server, bucket, root
        self.source = root / "source"
        self.url = f"s3://{bucket}/site"
        make_tree(self.source, TREE)
        (self.source / "css/site.css").chmod(0o600)

    def run(self, verb: str, source: object, target: object, *options: str) -> Ended:
        """`s32s VERB SOURCE TARGET` with nothing but variables and an endpoint."""
        self.machine.config.unlink(missing_ok=True)
        words = [verb, str(source), str(target), "--endpoint-url", self.server.endpoint_url, "--region", "us-east-1"]
        return self.machine.run(*words, *options)


@pytest.fixture
def between(tmp_path: Path, server: S3Server, bucket: str) -> Between:
    """Nothing but two places."""
    return Between(tmp_path, server, bucket)


def test_a_directory_goes_to_s3_and_comes_back(between: Between) -> None:
    """Exactly: bytes, modes, times, empty directories; and what changes later follows."""
    back = between.root / "back"
    pushed, pulled = between.run("sync", between.source, between.url), between.run("sync", between.url, back)
    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert snapshot(back) == snapshot(between.source)

    (between.source / "index.html").write_bytes(b"changed")
    (between.source / "css/site.css").unlink()
    pushed, pulled = between.run("sync", between.source, between.url), between.run("sync", between.url, back)

    assert (pushed.status, pulled.status) == (0, 0), pushed.err + pulled.err
    assert snapshot(back) == snapshot(between.source)
    again = between.run("sync", between.url, back)
    assert again.changed_nothing


@pytest.mark.parametrize("options", [(), ("--in-place",)], ids=["swap", "in-place"])
def test_a_directory_goes_to_a_directory(between: Between, options: tuple[str, ...]) -> None:
    """No server takes part; a directory that is there is changed as it is asked for."""
    target = between.root / "copy"
    assert between.run("sync", between.source, target, *options).status == 0
    (between.source / "index.html").unlink()
    make_tree(between.source, {"new/file": b"n"})

    ended = between.run("sync", between.source, target, *options)

    assert ended.status == 0, ended.err
    assert snapshot(target) == snapshot(between.source)
    for verify in ((), ("--verify",)):
        again = between.run("sync", between.source, target, *options, *verify)
        assert again.changed_nothing
    (between.source / "odd/ä %+").write_bytes(b"y")  # of the same size
    assert "1 modified" in between.run("sync", between.source, target, *options).out
    assert snapshot(target) == snapshot(between.source)


def test_relative_paths_and_file_urls(between: Between) -> None:
    """As a shell gives them."""
    target = between.root / "copy"
    ended = between.machine.run("sync", "../source", f"file://{target}", cwd=between.root / "m")

    assert ended.status == 0, ended.err
    assert snapshot(target) == snapshot(between.source)


def test_the_directory_that_one_is_in_stays_the_same(between: Between) -> None:
    """It is changed file by file: a shell would be left in the old one."""
    here = between.root / "here"
    here.mkdir()
    inode = here.stat().st_ino
    for target in (".", "../here"):
        (between.source / "index.html").write_bytes(target.encode())
        ended = between.machine.run("sync", str(between.source), target, cwd=here)
        assert ended.status == 0, ended.err

    assert snapshot(here) == snapshot(between.source)
    assert here.stat().st_ino == inode


def test_a_prefix_goes_to_a_prefix(between: Between) -> None:
    """And may be followed from there."""
    other, back = f"s3://{between.bucket}/copy", between.root / "back"
    assert between.run("sync", between.source, between.url).status == 0
    copied, pulled = between.run("sync", between.url, other), between.run("sync", other, back)

    assert (copied.status, pulled.status) == (0, 0), copied.err + pulled.err
    assert snapshot(back) == snapshot(between.source)


def test_plain_objects_have_no_manifest(between: Between) -> None:
    """For buckets that other tools use too."""
    make_tree(between.root / "plain", {"a": b"1", "d/b": b"2"})
    ended = between.run("sync", between.root / "plain", between.url, "--no-manifest")

    assert ended.status == 0, ended.err
    assert sorted(keys(between.server, between.bucket, "site/")) == ["site/a", "site/d/b"]


def test_a_directory_that_others_filled_is_asked_about(between: Between) -> None:
    """Once: what s32s has written it may write again."""
    target = between.root / "theirs"
    make_tree(target, {"precious": b"p"})
    before = snapshot(target)

    refused = between.run("sync", between.source, target)
    assert_failed(refused, 3, says="is not empty, and s32s has never written it")
    assert snapshot(target) == before
    assert between.run("dryrun", between.source, target, "--force-delete").status == 0
    assert snapshot(target) == before

    taken = between.run("sync", between.source, target, "--yes", "--force-delete")
    assert taken.status == 0, taken.err
    (between.source / "index.html").write_bytes(b"more")
    assert between.run("sync", between.source, target).status == 0
    assert snapshot(target) == snapshot(between.source)


def test_what_becomes_of_another_kind_is_counted(between: Between) -> None:
    """A file or a link that becomes a directory, or the other way round, is modified: in figures, lists and JSON."""
    source, target = between.root / "kinds", between.root / "copy"
    make_tree(source, {"a": b"1", "b": b"2", "c": b"3", "d/x": b"4", "e": None, "same": b"5"})
    (source / "l").symlink_to("same")
    assert between.run("sync", source, target).status == 0
    for name in ("a", "b", "c", "l", "d/x"):
        (source / name).unlink()
    for name in ("d", "e"):
        (source / name).rmdir()
    make_tree(source, {"a": None, "b/y": b"2", "d": b"d", "e": b"e", "l": None})
    (source / "c").symlink_to("same")

    shown = between.run("dryrun", source, target)
    rows = [line.split()[:4] for line in shown.out.splitlines()]
    assert ["~", "modified", "6", "files"] in rows, shown.out
    assert "a/  (a directory instead of a file)" in shown.out
    assert "c  (a link instead of a file)" in shown.out
    (planned,) = [one for one in between.run("dryrun", source, target, "--json").lines if one["event"] == "planned"]
    kinds = ("new", "modified", "deleted", "modified_directories", "unchanged", "files")
    assert [planned[kind] for kind in kinds] == [1, 6, 1, 0, 1, 5]

    done = between.run("sync", source, target)
    assert "1 new, 6 modified, 1 deleted; 5 files" in done.out, done.out + done.err
    assert snapshot(target) == snapshot(source)

    (source / "same").unlink()
    make_tree(source, {"same": None})
    assert ": 1 modified; 4 files" in between.run("sync", source, target, "--links", "keep").out


def test_copy_deletes_nothing(between: Between) -> None:
    """And a sync afterwards shows what that would be."""
    target = between.root / "copy"
    between.run("sync", between.source, target)
    make_tree(target, {"mine": b"m"})
    (between.source / "index.html").unlink()

    assert between.run("copy", between.source, target).status == 0
    assert (target / "mine").read_bytes() == b"m"
    shown = between.run("dryrun", between.source, target, "--exit-code")
    assert shown.status == 4
    assert "2 files" in shown.out


def test_a_single_file_is_copied(between: Between) -> None:
    """To a directory, and to a prefix; what is there beside it stays."""
    target = between.root / "copy"
    between.run("sync", between.source, target)
    (between.source / "index.html").write_bytes(b"changed")
    (between.source / "css/site.css").unlink()

    copied = between.run("copy", between.source / "index.html", target)
    put = between.run("copy", between.source / "index.html", between.url, "--no-manifest")

    assert (copied.status, put.status) == (0, 0), copied.err + put.err
    assert (target / "index.html").read_bytes() == b"changed"
    assert (target / "css/site.css").exists()
    assert list(keys(between.server, between.bucket, "")) == ["site/index.html"]


def test_which_paths_take_part(between: Between) -> None:
    """By rules and by a list."""
    only = between.root / "list"
    only.write_text("css/site.css\n\n")
    ruled, listed = between.root / "ruled", between.root / "listed"

    assert between.run("sync", between.source, ruled, "--ignore", "css/*", "--ignore", "odd/*").status == 0
    assert between.run("sync", between.source, listed, "--files-from", str(only)).status == 0
    assert {str(path.relative_to(ruled)) for path in ruled.rglob("*") if path.is_file()} == {"index.html"}
    assert {str(path.relative_to(listed)) for path in listed.rglob("*") if path.is_file()} == {"css/site.css"}


def test_a_dry_run_makes_nothing(between: Between) -> None:
    """Neither the target, nor an object, nor any memory."""
    ended = between.run("dryrun", between.source, between.url)

    assert ended.status == 0, ended.err
    assert not list(keys(between.server, between.bucket, ""))
    assert not (between.machine.root / "state").exists()


OWN = """
from pathlib import Path
{code}

class Lacking:
    pass


class Listing(SqliteBackend):
    def __init__(self, file, page):
        super().__init__(file)
        self.page = page

    def list(self, prefix):
        yield {{"none": None, "text": "abc", "names": ["a.txt"]}}[self.page]

    def head(self, key, *, version=None, tags=False):
        return 1 / 0
"""


@pytest.fixture
def own_store(between: Between) -> Between:
    """A configuration that names the store of docs/own-backend.md, and another S3 connection."""
    page = Path(__file__).parents[2] / "docs/own-backend.md"
    code = page.read_text().split("```python")[1].split("```")[0]
    (between.root / "own").mkdir()
    (between.root / "own/sqlite_store.py").write_text(OWN.format(code=code))
    file = between.root / "objects.db"
    between.machine.write_config("master", "bkt/maps")
    with between.machine.config.open("a") as config:
        config.write(f'[stores.box]\ntype = "sqlite_store:SqliteBackend"\nfile = "{file}"\n')
        config.write(
            f'[stores.nas]\ntype = "s3"\nendpoint_url = "{between.server.endpoint_url}"\nregion = "us-east-1"\n'
        )
        config.write('[stores.gone]\ntype = "no_such_module:Class"\n')
        config.write('[stores.lacking]\ntype = "sqlite_store:Lacking"\n')
        for page in ("none", "text", "names"):
            config.write(f'[stores.{page}]\ntype = "sqlite_store:Listing"\nfile = "{file}"\npage = "{page}"\n')
        config.write('[stores.odd]\ntype = "sqlite_store:SqliteBackend"\ncolour = "red"\n')
    between.machine.extra["PYTHONPATH"] = f"{between.root / 'own'}:{os.environ.get('PYTHONPATH', '')}"
    return between


def test_a_store_of_ones_own(own_store: Between) -> None:
    """It holds trees as S3 does: there, back, to S3 and from there; all of it, or what is below a prefix."""
    run, root = own_store.machine.run, own_store.root
    for source, target in (
        (str(own_store.source), "box:sites/www"),
        ("box:sites/www", str(root / "back")),
        ("box:sites/www", own_store.url),
        (own_store.url, f"nas:{own_store.bucket}/copy"),
        (f"nas:{own_store.bucket}/copy", "box:again"),
        ("box:again", str(root / "round")),
    ):
        ended = run("sync", source, target)
        assert ended.status == 0, f"{source} > {target}: {ended.err}"

    assert snapshot(root / "back") == snapshot(own_store.source)
    assert snapshot(root / "round") == snapshot(own_store.source)
    (own_store.source / "index.html").write_bytes(b"changed")
    assert "1 modified" in run("sync", str(own_store.source), "box:sites/www").out
    assert "1 modified" in run("sync", "box:sites/www", str(root / "back")).out
    assert snapshot(root / "back") == snapshot(own_store.source)


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("gone:x", 2, "no_such_module:Class cannot be imported"),
        ("lacking:x", 2, "is not a backend: it lacks list, head, get"),
        ("odd:x", 2, "cannot be made of these options"),
        ("nas:x", 2, "is not a bucket name"),
        ("nowhere:x", 2, "is not a place"),
        ("none:x", 1, "Listing: list yields NoneType"),
        ("text:x", 1, "Listing: list yields str"),
        ("names:x", 1, "Listing: list yields 'a.txt'"),
        ("box:../x", 2, "cannot be used"),
    ],
)
def test_a_store_that_cannot_be_is_told(own_store: Between, target: str, status: int, says: str) -> None:
    """With its name, and what to do."""
    assert_failed(own_store.machine.run("sync", str(own_store.source), target), status, says=says)


def test_places_in_one_store_stay_apart(own_store: Between) -> None:
    """As everywhere."""
    assert_failed(own_store.machine.run("sync", "box:a", "box:a/b"), 3, says="overlap")
    assert_failed(own_store.machine.run("sync", "box:a", "box:"), 3, says="overlap")


def test_a_configuration_counts_where_there_is_one(between: Between) -> None:
    """Its connection and its limit."""
    between.machine.write_config("master", "bkt/maps", text="max_delete = 0")
    target = between.root / "copy"
    assert between.machine.run("sync", str(between.source), between.url).status == 0
    assert between.machine.run("sync", str(between.source), str(target)).status == 0
    (between.source / "index.html").unlink()

    assert_failed(between.machine.run("sync", str(between.source), str(target)), 3, says="max_delete allows 0")


def test_a_configuration_of_stores_alone(between: Between) -> None:
    """It takes no role and no maps where nothing needs them; what needs maps says so."""
    run, root = between.machine.run, between.root
    (root / "nas").mkdir()
    between.machine.config.write_text(
        f'max_delete = 0\n[stores.nas]\ntype = "file"\npath = "{root}/nas"\n'
        f'[stores.own]\ntype = "s3"\nendpoint_url = "{between.server.endpoint_url}"\nregion = "us-east-1"\n'
    )
    for verb in ("dryrun", "sync"):
        for source, target in (
            (str(between.source), "nas:site"),
            (str(between.source), f"own:{between.bucket}/site"),
        ):
            ended = run(verb, source, target)
            assert ended.status == 0, ended.err
    assert run("sync", f"own:{between.bucket}/site", str(root / "back")).status == 0
    assert snapshot(root / "back") == snapshot(root / "nas/site") == snapshot(between.source)
    (between.source / "index.html").unlink()
    assert_failed(run("sync", str(between.source), "nas:site"), 3, says="max_delete allows 0")

    assert_failed(run("sync", "WEB"), 2, says=("maps: it is mandatory and missing", "s32s configure --role ROLE"))
    assert_failed(run("sync", "WEB", "SHOP"), 2, says="no configuration says where the maps are")
    assert_failed(run("forget", "TEAM", "--yes"), 2, says="no configuration of this machine says where maps are")
    assert_failed(run("--config", f"{root}/none", "sync", "nas:a", "nas:b"), 2, says="there is no configuration at")


def test_settings_hold_where_no_file_is(between: Between) -> None:
    """A word or a variable counts between two places as it does in a configuration."""
    target = between.root / "copy"
    assert between.run("sync", between.source, target).status == 0
    (between.source / "index.html").unlink()

    assert_failed(between.run("sync", between.source, target, "--set", "max_delete=0"), 3, says="max_delete allows 0")
    between.machine.extra["S32S_MAX_DELETE"] = "0"
    assert_failed(between.run("sync", between.source, target), 3, says="max_delete allows 0")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["{root}/source"], 2, "two places are needed"),
        (["{root}/source", "WEB"], 2, '"WEB" is not a place; write ./WEB'),
        (["{root}/source", "{root}/a", "{root}/b"], 2, "two places are needed"),
        (["{root}/source", "gopher://x/y"], 2, "of a kind that s32s does not know"),
        (["{root}/source", "file://x"], 2, "names no directory"),
        (["{root}/source", "s3://x"], 2, "is not a bucket name"),
        (["{root}/source", "{root}/source"], 3, "overlap"),
        (["{root}/source", "{root}/source/css"], 3, "overlap"),
        (["{root}/source/css", "{root}/source/../source"], 3, "overlap"),
        (["s3://bkt/a", "s3://bkt/a/b"], 3, "overlap"),
        (["{root}/none", "{root}/x"], 3, "does not exist"),
        (["{root}/source/index.html", "{root}/x"], 2, "is a file; s32s copy FILE TARGET"),
        (["{root}/source", "/etc/s32s-test"], 3, "belongs to the system"),
        (["{root}/source", "/"], 3, "overlap"),
        (["{root}/source", "/home"], 3, "is never replaced"),
        (["{root}/source", "{root}/none/x"], 3, "does not exist"),
        (["{root}/source", "{root}/x", "--role", "slave"], 2, "are for entries of the maps"),
        (["{root}/source", "{root}/x", "--files-from", "{root}/none"], 2, "cannot be read"),
        (["{root}/source", "{root}/x", "--accept", "{{"], 2, "brace"),
        (["WEB", "--in-place"], 2, "--in-place is for two places"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_cannot_be_is_told(between: Between, words: list[str], status: int, says: str) -> None:
    """In a sentence, with the status of the design, and nothing is touched."""
    before = snapshot(between.root / "source")
    between.machine.config.unlink(missing_ok=True)

    ended = between.machine.run("sync", *(word.format(root=between.root) for word in words))

    assert_failed(ended, status, says=says)
    assert snapshot(between.root / "source") == before
    assert not os.path.lexists(between.root / "x")


def test_a_bucket_by_mistake_loses_no_neighbour(between: Between) -> None:
    """Other places of s32s are in it: the run is refused, and they stay."""
    assert between.run("sync", between.source, between.url).status == 0
    before = keys(between.server, between.bucket)

    refused = between.run("sync", between.source, f"s3://{between.bucket}")

    assert_failed(refused, 3, says="s32s keeps other files there")
    assert set(keys(between.server, between.bucket)) == set(before)


def test_objects_of_somebody_else_are_asked_about(between: Between) -> None:
    """A prefix to which s32s has never published is like a directory that others filled."""
    for name in ("a.txt", "b.txt"):
        put(between.server, between.bucket, f"foreign/{name}", b"theirs")
    target = f"s3://{between.bucket}/foreign"

    for options in ((), ("--no-manifest",)):
        ended = between.run("sync", between.source, target, *options)
        assert_failed(ended, 3, says=("s32s has never published", "--yes takes it over"))
    shown = between.run("dryrun", between.source, target)
    assert (shown.status, "deleted  2 files" in shown.out) == (0, True), shown.out + shown.err
    copied = between.run("copy", between.source, target)
    assert copied.status == 0, copied.err  # nothing that was there is touched

    assert get(between.server, between.bucket, "foreign/a.txt") == b"theirs"
    taken = between.run("sync", between.source, target, "--yes")
    assert taken.status == 0, taken.err
    (between.source / "index.html").unlink()
    assert between.run("sync", between.source, target).status == 0  # ours by now


def test_another_source_that_is_refused_forgets_nothing(between: Between) -> None:
    """What is remembered of a target goes by the pair of places."""
    target, empty = between.root / "back", between.root / "nothing"
    empty.mkdir()
    assert between.run("sync", between.source, target).status == 0
    assert between.run("sync", empty, target).status == 3

    again = between.run("sync", between.source, target)

    assert (again.status, again.changed_nothing) == (0, True), again.err


def test_the_home_of_the_environment_is_a_home(between: Between) -> None:
    """Whatever passwd(5) says."""
    home = between.root / "home"
    make_tree(home, {"notes.txt": b"mine"})

    ended = between.machine.run(
        "sync", str(between.source), str(home), "--yes", environment={"HOME": str(home), "XDG_STATE_HOME": "/nowhere"}
    )

    assert_failed(ended, 3, says="home directory")
    assert (home / "notes.txt").read_bytes() == b"mine"


def test_words_that_are_no_places(between: Between) -> None:
    """Say what may have been meant."""
    between.machine.config.unlink(missing_ok=True)
    assert_failed(between.machine.run("sync", "site", "copy"), 2, says="write ./site for a directory")
    assert_failed(between.machine.run("sync", "./site", "me@host:dir"), 2, says="sftp://me@host/~/dir")


def test_files_from_takes_what_find_prints(between: Between) -> None:
    """`find .` begins its lines with ./, and - is standard input."""
    listed = between.root / "listed"
    listed.write_text("./index.html\n")
    target = between.root / "copy"

    ended = between.run("sync", between.source, target, "--files-from", str(listed))

    assert ended.status == 0, ended.err
    assert [path.name for path in target.iterdir()] == ["index.html"]


def test_links_that_no_rule_accepts_stop_nothing(between: Between) -> None:
    """Without a manifest a link cannot be replicated; one that takes no part need not."""
    (between.source / "link").symlink_to("index.html")

    ended = between.run("sync", between.source, between.url, "--no-manifest", "--accept", "*.html")

    assert ended.status == 0, ended.err


def test_a_prefix_in_a_store_of_files_is_read_as_that(own_store: Between) -> None:
    """A mirror leaves objects and a manifest there, and not a tree."""
    own_store.machine.config.write_text(f'[stores.nas]\ntype = "file"\npath = "{own_store.root}/nas"\n')
    (own_store.root / "nas").mkdir()
    mirrored = ObjectStore(
        DirectoryBackend(str(own_store.root / "nas"), "site"), writer=Writer("w", "h", lambda: "2026-01-01T00:00:00Z")
    )
    replicate(LocalStore(str(own_store.source)), mirrored, Job(Verb.SYNC, EVERYTHING, Limits(HALF)), RunContext("x", 1))
    back = own_store.root / "back"

    ended = own_store.machine.run("sync", "nas:site", str(back))

    assert ended.status == 0, ended.err
    assert snapshot(back) == snapshot(own_store.source)


def test_a_store_of_files_takes_packs(own_store: Between) -> None:
    """Where that is asked for; without it such a place is a directory."""
    own_store.machine.config.write_text(f'[stores.nas]\ntype = "file"\npath = "{own_store.root}/nas"\n')
    (own_store.root / "nas").mkdir()
    back = own_store.root / "back"

    for source, target in ((str(own_store.source), "nas:site"), ("nas:site", str(back))):
        ended = own_store.machine.run("sync", source, target, "--layout", "packed")
        assert ended.status == 0, ended.err

    assert snapshot(back) == snapshot(own_store.source)
    assert not (own_store.root / "nas/site/index.html").exists()
    refused = own_store.machine.run("sync", str(own_store.source), "nas:site")
    assert_failed(refused, 3, says="add --layout packed")
