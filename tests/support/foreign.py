"""Starters of S3 servers of other makers: Ceph RGW, OpenStack Swift, LocalStack and s3rver.

Each listens on loopback ports only, keeps everything in one directory that is removed afterwards, and is ended through
the handles of the processes that were started. Ceph and Swift come from the system's packages, which only the
administrator can install; LocalStack and s3rver are installed into a cache directory (`S32S_SERVERS`) once.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.servers import S3Server

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
INSTALL_TIMEOUT_S = 600.0
CACHE = Path(os.environ.get("S32S_SERVERS", "~/.cache/s32s-servers")).expanduser()


class NotInstalledError(Exception):
    """This server cannot run here; the message says what is missing."""


class _Host:
    """A directory, and the processes that run in it until the end."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self._stack = stack

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process; its output goes to `name.log`."""
        with (self.root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                env=environment,
                start_new_session=True,
            )
        self._stack.callback(_end, process)
        return process

    def wait(self, what: str, is_ready: Callable[[], bool], *processes: subprocess.Popen[bytes]) -> None:
        """Wait until the server is there.

        Raises:
            ChildProcessError: it is not, and the message has the end of the logs.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and all(process.poll() is None for process in processes):
            if is_ready():
                return
            time.sleep(0.2)
        logs = [f"{log.name}: {log.read_text(errors='replace')[-500:]}" for log in self.root.glob("*.log")]
        raise ChildProcessError("\n".join([f"{what} does not answer", *logs]))


@contextmanager
def start_ceph() -> Iterator[S3Server]:
    """A monitor, one OSD that keeps its data in memory, and a gateway."""
    _needs(
        "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool", package="ceph-mon ceph-osd radosgw"
    )
    server = S3Server("ceph", "", "CEPHTESTCEPHTESTCEPH", "ceph/secret+for=this-server-only")
    with _host("ceph") as host:
        root, fsid = host.root, str(uuid.uuid4())
        gateway, v1, v2 = _free_ports(3)
        for name in ("mon", "osd", "rgw", "run"):
            (root / name).mkdir()
        configuration = root / "ceph.conf"
        configuration.write_text(_CEPH.format(root=root, fsid=fsid, gateway=gateway, v1=v1, v2=v2))
        here = ["-c", str(configuration)]
        monitors = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
        _do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitors, root / "monmap")
        _do("ceph-mon", *here, "-i", "a", "--mkfs", "--monmap", root / "monmap")
        mon = host.start("mon", ["ceph-mon", *here, "-i", "a", "-f"])
        host.wait("the monitor", lambda: _works("ceph", *here, "-s"), mon)
        _do("ceph", *here, "config", "set", "mon", "auth_allow_insecure_global_id_reclaim", "false")
        osd_id = str(uuid.uuid4())
        _do("ceph", *here, "osd", "new", osd_id, "0")
        _do("ceph-osd", *here, "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        osd = host.start("osd", ["ceph-osd", *here, "-i", "0", "-f"])
        host.wait("the OSD", lambda: "1 up" in _output("ceph", *here, "osd", "stat"), osd)
        # The gateway asks for a key even where no authentication is needed.
        rights = ["mon", "allow *", "osd", "allow *"]
        _do("ceph", *here, "auth", "get-or-create", "client.rgw", *rights, "-o", root / "keyring")
        rgw = host.start("gateway", ["radosgw", *here, "-n", "client.rgw", "-f"])
        url = f"http://127.0.0.1:{gateway}"
        host.wait("the gateway", lambda: _answers(url), rgw)
        user = ["--uid=test", "--display-name=Test", f"--access-key={server.access_key}"]
        _do("radosgw-admin", *here, "user", "create", *user, f"--secret-key={server.secret_key}")
        yield server.at(url)


@contextmanager
def start_swift() -> Iterator[S3Server]:
    """A proxy with s3api and tempauth before one account, one container and one object server."""
    _needs(
        "swift-proxy-server",
        "swift-ring-builder",
        "memcached",
        package="swift-proxy swift-object swift-container swift-account memcached",
    )
    with _host("swift") as host:
        root = host.root
        (root / "node/disk").mkdir(parents=True)
        proxy, cache, *stores = _free_ports(5)
        user = _output("id", "-un").strip()
        (root / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n")
        kinds = ("account", "container", "object")
        for kind, port in zip(kinds, stores, strict=True):
            builder = root / f"{kind}.builder"
            _do("swift-ring-builder", builder, "create", "4", "1", "1")
            _do("swift-ring-builder", builder, "add", f"r1z1-127.0.0.1:{port}/disk", "1")
            _do("swift-ring-builder", builder, "rebalance")
            (root / f"{kind}.conf").write_text(_SWIFT_STORE.format(root=root, kind=kind, port=port, user=user))
        (root / "proxy.conf").write_text(
            _SWIFT_PROXY.format(root=root, port=proxy, cache=cache, user=user, pipeline=_SWIFT_PIPELINE)
        )
        processes = [host.start("memcached", ["memcached", "-u", user, "-l", "127.0.0.1", "-p", str(cache)])]
        for kind in (*kinds, "proxy"):
            program = shutil.which(f"swift-{kind}-server")
            if program is None:
                raise NotInstalledError(f"swift-{kind}-server is not installed")
            command = ["/usr/bin/python3", "-c", _SWIFT_START, root, program, root / f"{kind}.conf"]
            processes.append(host.start(kind, command))
        url = f"http://127.0.0.1:{proxy}"
        host.wait("Swift", lambda: _answers(f"{url}/healthcheck"), *processes)
        yield S3Server("swift", url, "test:tester", "testing")


@contextmanager
def start_localstack() -> Iterator[S3Server]:
    """The S3 of LocalStack, with both mistakes of its listing."""
    environment = _localstack()
    with _host("localstack") as host:
        (port,) = _free_ports(1)
        url = f"http://127.0.0.1:{port}"
        for name in ("volume", "tmp", "home"):
            (host.root / name).mkdir()
        variables = {
            "PATH": f"{environment}/bin:/usr/bin:/bin",
            "HOME": str(host.root / "home"),
            "TMPDIR": str(host.root / "tmp"),
            "LOCALSTACK_VOLUME_DIR": str(host.root / "volume"),
            "FILESYSTEM_ROOT": str(host.root / "volume"),
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "GATEWAY_SERVER": "hypercorn",
            "SERVICES": "s3",
            "EAGER_SERVICE_LOADING": "1",
            "OVERRIDE_IN_DOCKER": "0",
            "DNS_ADDRESS": "0",
            "USE_SSL": "0",
            "ACTIVATE_PRO": "0",
            # It asks nobody outside for anything.
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "SKIP_INFRA_DOWNLOADS": "1",
        }
        process = host.start("localstack", [environment / "bin/python", "-m", "localstack.runtime.main"], variables)
        host.wait("LocalStack", lambda: '"s3"' in _page(f"{url}/_localstack/health"), process)
        yield S3Server("localstack", url, "test", "test")


@contextmanager
def start_s3rver() -> Iterator[S3Server]:
    """s3rver; its one pair of keys is fixed in its code."""
    _needs("node", "npm", package="nodejs npm")
    script = CACHE / "s3rver/node_modules/.bin/s3rver"
    if not script.exists():
        script.parents[2].mkdir(parents=True, exist_ok=True)
        _install("npm", "install", "--no-audit", "--no-fund", f"--prefix={script.parents[2]}", "s3rver@3.7.1")
    with _host("s3rver") as host:
        (port,) = _free_ports(1)
        url = f"http://127.0.0.1:{port}"
        (host.root / "data").mkdir()
        command = ["node", script, "-d", host.root / "data", "-a", "127.0.0.1", "-p", str(port), "--no-vhost-buckets"]
        # It signs its own pages with a hash that OpenSSL 3 calls legacy.
        variables = {**os.environ, "NODE_OPTIONS": "--openssl-legacy-provider"}
        process = host.start("s3rver", command, variables)
        host.wait("s3rver", lambda: _answers(url), process)
        yield S3Server("s3rver", url, "S3RVER", "S3RVER")


STARTERS = {"ceph": start_ceph, "swift": start_swift, "localstack": start_localstack, "s3rver": start_s3rver}


def _localstack() -> Path:
    """The virtual environment of LocalStack, made when it is not there."""
    environment = CACHE / "localstack"
    if (environment / "bin/localstack-supervisor").exists():
        return environment
    candidates = [shutil.which("python3.13"), *sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python3.13"))]
    python = next((str(path) for path in candidates if path and _works(str(path), "-c", "")), None)
    if python is None:
        raise NotInstalledError("LocalStack wants Python 3.13, which is not installed")
    shutil.rmtree(environment, ignore_errors=True)
    environment.parent.mkdir(parents=True, exist_ok=True)
    _install(python, "-m", "venv", environment)
    # What it needs but does not pin: later ones lack what it calls.
    _install(environment / "bin/pip", "install", "-q", "localstack-core[runtime]", "cbor2==5.7.*", "pyOpenSSL==25.1.*")
    return environment


@contextmanager
def _host(name: str) -> Iterator[_Host]:
    # Short, because the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as root, ExitStack() as stack:
        yield _Host(Path(root), stack)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(number: int) -> list[int]:
    """Ports that are free now; these servers cannot be told to let the kernel choose."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _needs(*programs: str, package: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotInstalledError(f"{', '.join(missing)} not installed (Debian: apt install {package})")


def _install(*command: str | Path) -> None:
    try:
        _do(*command, timeout_s=INSTALL_TIMEOUT_S)
    except (ChildProcessError, subprocess.TimeoutExpired) as exc:
        raise NotInstalledError(f"the installation failed: {exc}") from exc


def _do(*command: str | Path, timeout_s: float = START_TIMEOUT_S) -> None:
    ended = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if ended.returncode:
        raise ChildProcessError(f"{command[0]} ended with {ended.returncode}: {ended.stderr[-500:]}")


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S).stdout


def _answers(url: str) -> bool:
    """Whether anything answers there, an error of S3 included."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read(), "utf-8", "replace")
    except OSError:
        return ""


_CEPH = """[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
run_dir = {root}/run
admin_socket = {root}/run/$name.asok
pid_file = {root}/run/$name.pid
log_file = {root}/run/$name.log
mon_cluster_log_file = {root}/run/cluster.log
crash_dir = {root}/run
[mon]
mon_data = {root}/mon
mon_data_avail_warn = 2
mon_data_avail_crit = 1
[osd]
osd_data = {root}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_max_object_name_len = 2048
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_data = {root}/rgw
keyring = {root}/keyring
ms_mon_client_mode = crc secure
auth_client_required = none
"""

# Swift looks for swift.conf in /etc/swift, whatever the directory of the other files is; only code can say otherwise.
_SWIFT_START = """
import runpy, sys
from swift.common import utils
utils.set_swift_dir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_SWIFT_STORE = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
swift_dir = {root}
devices = {root}/node
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
recon_cache_path = {root}/node
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_SWIFT_PIPELINE = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes"
    " symlink proxy-server"
)
_SWIFT_PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 2
user = {user}
swift_dir = {root}
log_level = WARNING
[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""
