"""Packets that get lost in one direction: the machine's own filter drops what one process sends to its peers.

Needs root and iptables. Only connections of the given process are touched.
"""

import os
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK = 0.2  # seconds between two looks for new connections
ESTABLISHED, SYN_SENT = "01", "02"  # as /proc/net/tcp has them


@contextmanager
def unheard(pid: int, ports: Collection[int]) -> Iterator[None]:
    """``pid`` hears its peers and they do not hear it; ``ports`` are where it and they listen for each other."""
    dropped: set[int] = set()
    over = threading.Event()

    def follow() -> None:
        while not over.is_set():
            for port in sent_from(pid, ports) - dropped:
                filtered("-I", port)
                dropped.add(port)
            over.wait(LOOK)

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()
        for port in dropped:
            filtered("-D", port)


def sent_from(pid: int, ports: Collection[int]) -> set[int]:
    """The process's own ports of its connections from or to one of ``ports``."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            sockets.add(os.readlink(descriptor))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        here, there = (int(address.rpartition(":")[2], 16) for address in (local, remote))
        if f"socket:[{inode}]" in sockets and state in (ESTABLISHED, SYN_SENT) and {here, there} & {*ports}:
            found.add(here)
    return found


def filtered(action: str, port: int) -> None:
    rule = ["-o", "lo", "-p", "tcp", "--sport", str(port), "-j", "DROP"]
    subprocess.run(["iptables", "--wait", action, "OUTPUT", *rule], check=True, capture_output=True)
