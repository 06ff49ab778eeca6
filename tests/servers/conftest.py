"""Ceph RGW and OpenStack Swift for as long as the tests run, where their programs are installed.

Debian packages: ceph-mon ceph-osd radosgw ceph-common; swift swift-proxy swift-account swift-container swift-object.
Both listen on free loopback ports and keep all they write below a temporary directory. Swift's services read
/etc/swift/swift.conf, whose hash suffix must be set. The processes are ended through their handles.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.servers import S3Server

KEY, SECRET = "ADAADAADAADAADAADAAD", "ada/secret+for=this-server"
START_TIMEOUT_S = 90.0


@pytest.fixture(scope="session", params=["ceph", "swift"])
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Each server that can be started here."""
    start, programs = {
        "ceph": (_ceph, ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool")),
        "swift": (_swift, ("swift-proxy-server", "swift-object-server", "swift-ring-builder", "memcached")),
    }[request.param]
    if missing := [name for name in programs if not shutil.which(name)]:
        pytest.skip(f"{request.param} is not installed: no {', '.join(missing)}")
    with start(tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def server(foreign: S3Server) -> S3Server:
    """What the other fixtures use."""
    return foreign


@contextlib.contextmanager
def _ceph(root: Path) -> Iterator[S3Server]:
    """One monitor, one storage daemon that keeps all in memory, and one gateway; no authentication between them."""
    monitor, old, port = free_port(), free_port(), free_port()
    addresses = f"[v2:127.0.0.1:{monitor},v1:127.0.0.1:{old}]"
    for name in ("mon", "osd", "rgw", "run"):
        (root / name).mkdir()
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    config = root / "ceph.conf"
    config.write_text(
        f"""[global]
fsid = {fsid}
mon_initial_members = a
mon_host = {addresses}
ms_bind_ipv6 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
run_dir = {root}/run
admin_socket = {root}/run/$name.asok
log_file = {root}/$name.log
mon_cluster_log_file = {root}/cluster.log
crash_dir = {root}/run
[mon]
mon_data = {root}/mon
mon_data_avail_crit = 1
[osd]
osd_data = {root}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_max_object_name_len = 2048
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_data = {root}/rgw
keyring = {root}/keyring
ms_mon_client_mode = crc secure
auth_client_required = none
"""
    )
    known = ("-c", str(config))
    run = Runner(root)
    run.once("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, str(root / "monmap"))
    run.once("ceph-mon", *known, "-i", "a", "--mkfs", "--monmap", str(root / "monmap"))
    with run:
        run.start("ceph-mon", *known, "-i", "a", "-f")
        run.until(lambda: run.works("timeout", "5", "ceph", *known, "-s"), "the monitor")
        run.once("ceph", *known, "osd", "new", osd, "0")
        run.once("ceph-osd", *known, "-i", "0", "--mkfs", "--osd-uuid", osd)
        run.start("ceph-osd", *known, "-i", "0", "-f")
        run.until(lambda: "1 up" in run.once("ceph", *known, "osd", "stat"), "the storage daemon")
        allowed = ("mon", "allow *", "osd", "allow *")
        run.once("ceph", *known, "auth", "get-or-create", "client.rgw", *allowed, "-o", str(root / "keyring"))
        run.start("radosgw", *known, "-n", "client.rgw", "-f")
        run.until(lambda: answers(port), "the gateway")
        keys = (f"--access-key={KEY}", f"--secret-key={SECRET}")
        run.once("radosgw-admin", *known, "user", "create", "--uid=ada", "--display-name=Ada", *keys)
        yield S3Server("ceph", f"http://127.0.0.1:{port}", KEY, SECRET)


@contextlib.contextmanager
def _swift(root: Path) -> Iterator[S3Server]:
    """One process of each service on one device, and the memcached that tempauth keeps its tokens in."""
    port, cache = free_port(), free_port()
    common = f"user = {_user()}\nswift_dir = {root}\nbind_ip = 127.0.0.1\nlog_level = WARNING\n"
    (root / "node/device").mkdir(parents=True)
    run = Runner(root)
    kinds = ("account", "container", "object")
    for kind in kinds:
        at, builder = free_port(), str(root / f"{kind}.builder")
        run.once("swift-ring-builder", builder, "create", "4", "1", "1")
        run.once("swift-ring-builder", builder, "add", f"r1z1-127.0.0.1:{at}/device", "1")
        run.once("swift-ring-builder", builder, "rebalance")
        (root / f"{kind}.conf").write_text(
            f"[DEFAULT]\n{common}bind_port = {at}\nworkers = 1\ndevices = {root}/node\nmount_check = false\n"
            f"fallocate_reserve = 0\n[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\nrecon_cache_path = {root}\n"
        )
    filters = (
        "catch_errors",
        "gatekeeper",
        "healthcheck",
        "cache",
        "listing_formats",
        "bulk",
        "s3api",
        "tempauth",
        "copy",
    )
    filters += ("slo", "dlo", "versioned_writes", "symlink")
    options = {
        "cache": f"memcache_servers = 127.0.0.1:{cache}\n",
        "s3api": "location = us-east-1\n",
        "tempauth": "user_test_tester = testing .admin\n",
        "versioned_writes": "allow_object_versioning = true\n",
    }
    sections = "".join(
        f"[filter:{name}]\nuse = egg:swift#{'memcache' if name == 'cache' else name}\n{options.get(name, '')}"
        for name in filters
    )
    (root / "proxy.conf").write_text(
        f"[DEFAULT]\n{common}bind_port = {port}\nworkers = 0\n[pipeline:main]\n"
        f"pipeline = {' '.join(filters)} proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\n"
        f"account_autocreate = true\n{sections}"
    )
    with run:
        run.start("memcached", "-u", _user(), "-l", "127.0.0.1", "-p", str(cache))
        for kind in (*kinds, "proxy"):
            run.start(f"swift-{kind}-server", str(root / f"{kind}.conf"))
        run.until(lambda: answers(port), "the proxy")
        yield S3Server("swift", f"http://127.0.0.1:{port}", "test:tester", "testing")


class Runner:
    """Programs of one server; those that stay are ended with the block, the last one first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            # A session of its own holds the workers of a service too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def once(self, *command: str) -> str:
        """Run a program to its end and return what it says."""
        ended = subprocess.run(command, cwd=self._root, capture_output=True, text=True, check=False, timeout=60)
        if ended.returncode:
            raise ChildProcessError(f"{command}: {ended.stdout}{ended.stderr}")
        return ended.stdout + ended.stderr

    def works(self, *command: str) -> bool:
        """Whether a program ends well."""
        return subprocess.run(command, cwd=self._root, capture_output=True, check=False).returncode == 0

    def start(self, *command: str) -> None:
        """Start a program that stays."""
        with (self._root / f"{Path(command[0]).name}.out").open("wb") as out:
            made = subprocess.Popen(
                command,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._running.append(made)

    def until(self, is_ready: Callable[[], bool], what: str) -> None:
        """Wait for a sign of life."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._running):
                raise ChildProcessError(f"{what} does not come up; see {self._root}")
            time.sleep(0.2)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
