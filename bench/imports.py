"""A file of 50,000 volunteers: how long until what is wrong with it can be seen, and in what memory."""

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from xlsxwriter import Workbook

from bench.city import COUNTY
from bench.processes import cpu_seconds, get, request
from bench.report import Figure
from bench.rounds import Settings, WrongResult, progress
from bench.servers import Servers
from bench.sides import Ours
from deploy.reference import divisions
from services.contracts.registry import Tier
from services.registry.identity import check_character

MAX_PREVIEW, MAX_MEMORY = 20.0, 300.0  # seconds, MB
COUNTIES = (COUNTY, "130824")
PATIENCE = 900.0  # seconds
SAMPLE = 0.05  # seconds
HEADINGS = ("姓名", "身份证号", "手机号", "站点代码", "服务类别", "技能", "同意书版本")

details: dict[str, Any] = {}


class Counties(Ours):
    """With the counties of the demo, and nobody but its people."""

    name, prefix = "imports", "bench_imports_"

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers, villages=())

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "SIDAN_CENTERS": ",".join(COUNTIES)}


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    count, few = settings.of(50_000, 5_000), settings.of(5_000, 1_000)
    servers.clear(Counties.prefix)
    side = Counties(servers)
    try:
        side.start()
        file, begun, used = a_file(count), time.monotonic(), busy(side)
        with peaks(side.processes.pids) as peak:
            preview(side, file, count)
        took, used = time.monotonic() - begun, busy(side) - used
        progress(f"  preview: {took:.1f} s, {used:.1f} s of CPU in gateway and registry, {peak}")
        rate = few / execution(side, preview(side, a_file(few), few), few)
    finally:
        side.processes.stop()
        servers.clear(Counties.prefix)
    details["Imports: peak memory (MB)"] = [{"process": name, "peak": mb} for name, mb in sorted(peak.items())]
    largest = max(peak, key=peak.__getitem__)
    note = f"1 % is wrong; {used:.1f} s of CPU in gateway and registry; {rate:.0f} rows a second carried out"
    return [
        Figure(f"preview of {count} rows", took, "s", at_most=MAX_PREVIEW, note=note),
        Figure(f"memory while previewing, {largest}", peak[largest], "MB", at_most=MAX_MEMORY, note=json.dumps(peak)),
    ]


def busy(side: Counties) -> float:
    return sum(cpu_seconds(side.processes.pids[name]) for name in ("gateway", "registry"))


def preview(side: Counties, file: bytes, count: int) -> str:
    """The import's id, when all that is wrong is known."""
    path = f"/v1/imports?kind=volunteers&site={COUNTY}"
    status, answer = request("POST", side.port, path, file, headers_of(side), PATIENCE)
    found = json.loads(answer)
    if status != 201 or (found["rows"], found["errors"]) != (count, count // 100):
        raise WrongResult(f"{status} {answer[:300]!r}")
    return str(found["id"])


def execution(side: Counties, id: str, count: int) -> float:
    begun, path = time.monotonic(), f"/v1/imports/{id}"
    headers = {**headers_of(side), "Content-Type": "application/json"}
    request("POST", side.port, f"{path}/execute", json.dumps({"skip_errors": True}), headers)
    while (state := get(side.port, path, side.tokens["admin"]))["state"] != "done":
        if time.monotonic() - begun > PATIENCE:
            raise WrongResult(f"not carried out: {state}")
        time.sleep(0.2)
    if state["created"] != count - count // 100:
        raise WrongResult(f"not all carried out: {state}")
    return time.monotonic() - begun


def headers_of(side: Counties) -> dict[str, str]:
    return {"Authorization": f"Bearer {side.tokens['admin']}"}


def a_file(count: int) -> bytes:
    stations = [site.code for site in divisions.sites([COUNTY]) if site.tier is Tier.STATION]
    file = io.BytesIO()
    with Workbook(file, {"constant_memory": True, "in_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADINGS)
        for number in range(count):
            day = date(1950, 1, 1) + timedelta(number % 20_000)
            id_number = f"{COUNTY}{day:%Y%m%d}{number // 20_000:03}"
            phone = "1" if number % 100 == 99 else f"139{number:08}"
            station = stations[number % len(stations)]
            row = (
                "冯春来",
                id_number + check_character(id_number),
                phone,
                station,
                "社区服务、文明风尚",
                "理发、修表",
                "1",
            )
            sheet.write_row(number + 1, 0, row)
    return file.getvalue()


@contextmanager
def peaks(pids: dict[str, int]) -> Iterator[dict[str, float]]:
    """The highest resident memory of gateway and registry, and of what reads the file for the gateway, in MB."""
    found, over = dict[str, float](), threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE):
            gateway = pids["gateway"]
            readers = Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split()
            watched = [("gateway", gateway), ("registry", pids["registry"]), *(("reader", int(pid)) for pid in readers)]
            for name, pid in watched:
                found[name] = max(found.get(name, 0.0), resident_mb(pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def resident_mb(pid: int) -> float:
    """0 for what has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0
