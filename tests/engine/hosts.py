"""Three hosts on one machine: namespaces of network, mounts, names and processes, each with its own raylet.

What a host has under /tmp, /dev/shm and its home is its own, so a path that is silently taken for everybody's
is missing there. /mnt/shared is a disk that all of them see.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = "/mnt/shared"
PORT = 6379
MADE = itertools.count()  # clusters of this process; each has a network of its own
HIDDEN = ("/tmp", "/dev/shm", "/root", "/home")
# The code and Python may lie under what is hidden: they are put back in their places.
HOLDER = """
set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir -p /mnt/shared /mnt/kept
mount --bind "$SHARED_DISK" /mnt/shared
number=0
for place in $KEPT; do
    number=$((number + 1)); mkdir -p /mnt/kept/$number; mount --rbind "$place" /mnt/kept/$number
done
for place in $HIDDEN; do mount -t tmpfs -o mode=1777 none $place; done
number=0
for place in $KEPT; do
    number=$((number + 1)); mkdir -p "$place"; mount --rbind /mnt/kept/$number "$place"
done
printf "127.0.0.1 localhost\n$NAMES\n" > /mnt/kept/hosts; mount --bind /mnt/kept/hosts /etc/hosts
: > /mnt/kept/nobody; mount --bind /mnt/kept/nobody /etc/resolv.conf  # a name server would not answer
hostname "$NAME"
ip link set lo up
echo ready
exec sleep infinity
"""


def lacking() -> str:
    """What this machine lacks for hosts; "" where nothing is."""
    for program in ("ip", "unshare", "nsenter"):
        if shutil.which(program) is None:
            return program
    tried = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(tried, capture_output=True).returncode:
        return "the right to make namespaces"
    name = f"imgt{os.getpid() % 10000}"
    made = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True)
    subprocess.run(["ip", "link", "delete", name], capture_output=True)
    return "" if made.returncode == 0 else "the right to make a bridge"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Host:
    """One host. pid: of the process that holds its namespaces; with it all of the host dies."""

    def __init__(self, name: str, addresses: dict[str, str], disk: Path):
        self.name, self.address = name, addresses[name]
        environment = {**os.environ, "NAME": name, "SHARED_DISK": str(disk)}
        environment["NAMES"] = "\\n".join(f"{place} {called}" for called, place in addresses.items())
        environment["HIDDEN"] = " ".join(place for place in HIDDEN if os.path.isdir(place))
        environment["KEPT"] = " ".join(sorted({str(ROOT), sys.prefix, sys.base_prefix}, key=len))
        spaces = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self.holder = subprocess.Popen(
            ["unshare", *spaces, "sh", "-c", HOLDER],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None and self.holder.stderr is not None
        if self.holder.stdout.readline() != "ready\n":
            raise RuntimeError(self.holder.stderr.read())
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text()
        self.pid = int(children.split()[0])

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "--all", "-t", str(self.pid), *words]

    def run(self, *words: str, **environment: str) -> subprocess.Popen:
        """Start a command there, with nothing of this process's environment but what Python needs."""
        there = {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": "/tmp"}
        there |= {"TMPDIR": "/tmp", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(self.command(*words), env=there, cwd="/", **pipes)

    def kill(self) -> None:
        """As when its power fails: every process of it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.holder.wait(10)


def _start_raylet(host: Host, words: list[str], environment: dict[str, str]) -> None:
    """Returns when it is up; what it says later is thrown away. A busy machine misses Ray's 30 s."""
    words = [f"{sys.prefix}/bin/ray", "start", f"--node-ip-address={host.address}", *words]
    said: list[str] = []
    for _ in range(3):
        log = host.run(*words, RAY_raylet_start_wait_time_s="60", **environment).stdout
        assert log is not None
        for line in log:
            said.append(line)
            if "Ray runtime started" in line:
                threading.Thread(target=log.read, daemon=True).start()
                return
    raise RuntimeError("".join(said))


class Cluster:
    """Hosts on a bridge. address: of this process there, for servers that all hosts are to reach."""

    def __init__(self, disk: Path, count: int = 3):
        self.number = (os.getpid() + 100 * next(MADE)) % 200 + 20
        self.bridge = f"imgb{self.number}"
        self.address = f"10.211.{self.number}.1"
        self.hosts: list[Host] = []
        ip("link", "add", self.bridge, "type", "bridge")
        try:
            ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            addresses = {f"host{n}": f"10.211.{self.number}.{10 + n}" for n in range(count)}
            for n, name in enumerate(addresses):
                self.hosts.append(self._joined(Host(name, addresses, disk), n))
        except BaseException:
            self.close()
            raise

    def _joined(self, host: Host, n: int) -> Host:
        ours, theirs = f"imgv{self.number}-{n}", f"imgw{self.number}-{n}"
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
        ip("link", "set", ours, "master", self.bridge, "up")
        ip("link", "set", theirs, "netns", str(host.pid), "name", "eth0")
        inside = ["nsenter", "--net", "-t", str(host.pid), "ip"]
        subprocess.run([*inside, "addr", "add", f"{host.address}/24", "dev", "eth0"], check=True)
        subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
        return host

    def start_ray(self, cores: Sequence[int] = (), **environment: str) -> str:
        """A raylet on every host, with one core or as many as `cores` says; the first is the head.

        Returns RAY_ADDRESS.
        """
        address = f"{self.hosts[0].address}:{PORT}"
        shared = ["--object-store-memory=80000000", "--disable-usage-stats", "--block"]
        shared += ["--include-log-monitor=false"]
        head = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        words = []
        for number, _ in enumerate(self.hosts):
            joins = [f"--address={address}"] if number else head
            words.append([*joins, f"--num-cpus={cores[number] if cores else 1}", *shared])
        _start_raylet(self.hosts[0], words[0], environment)
        with ThreadPoolExecutor() as at_once:
            environments = [environment] * len(self.hosts)
            list(at_once.map(_start_raylet, self.hosts[1:], words[1:], environments))
        return address

    def close(self) -> None:
        for host in self.hosts:
            host.kill()
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)
