"""F14, F18, F33, F35, F43, F47 to F52, F55: what surrounds the processes, and what people try."""

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import httpx
import orjson

from deploy.topology import subscriptions
from services.activities.domain import record_id
from services.chassis.messages import PREFIX
from services.points.verify import verify
from tests.faults.fleet import SKEWED, SMALL, TWICE
from tests.faults.oracle import DONE
from tests.faults.run import Run, scenario
from tests.faults.scenarios.messages import envelope_of, send
from tests.faults.scenarios.races import Racers, at_once
from tests.support.system import ROOT, SERVICES

LOOP_LAG = 0.2  # seconds
SLOW_LORIS = 200
FILL = 1 << 20  # bytes at a time
WRONG = {
    "MONGO_URI": "",
    "AMQP_URI": "nowhere",
    "SIDAN_DATA_KEY": "short",
    "SIDAN_SLA_PROFILE": "fast",
    "SIDAN_MAX_WORKERS": "many",
}
NOBODY = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."}


@scenario("F14", "a handler computes for three heartbeats", without="reconnecting")
def burning_handler(run: Run) -> None:
    """The broker drops the links; the process lives on, and the message is handled again."""
    before = run.fleet.restarts["activities"]
    run.fleet.restart_with("activities", FAULTS_WRAP="burn:32")
    run.fleet.until(lambda: run.fleet.serving("activities"), 30, "activities")
    with run.load(), run.trouble():
        run.fleet.pause(3)
    run.rest()
    run.expect(run.fleet.restarts["activities"] == before, "the process has not ended")
    run.expect("link lost" in run.fleet.log("activities"), "its links were lost")
    run.fleet.restart_with("activities", FAULTS_WRAP="")


@scenario("F18", "a process that declares its queues otherwise", without="tolerant-declaration")
def drifting_arguments(run: Run) -> None:
    """It says so and uses them as they are; the others go on; nothing is lost."""
    before = dict(run.fleet.restarts)
    with run.load(plans=("straight", "withdrawn")), run.trouble():
        run.fleet.restart_with("points", FAULTS_WRAP="drift:7")
        (life,) = run.lives(1)
        award = {"source_id": record_id(life.order, 0)}
        run.fleet.until(lambda: run.fleet.database("points")["transfers"].find_one(award), 20, "its award")
        run.fleet.restart_with("points", FAULTS_WRAP="")
    run.expect(dict(run.fleet.restarts) == before, "no process has ended by itself")
    run.expect("inequivalent arg" in run.fleet.log("points"), "the log tells what is wrong")


@scenario("F33", "the database's disk is full", layout=SMALL, without="majority", recovery=30)
def disk_full(run: Run) -> None:
    filler = run.fleet.database_server.data_dir / "filler"
    with run.load(), run.trouble():
        full = os.open(filler, os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(full, b"x" * FILL):
                pass
        except OSError:
            run.fleet.pause(8)
        finally:
            os.close(full)
            filler.unlink()
        run.fleet.heal()


@scenario("F35", "clocks of one replica each ten minutes ahead, and an hour behind", layout=SKEWED, without="lease")
def skewed_clocks(run: Run) -> None:
    """Leases and order are judged by the database's clock; calls still find their time."""
    most = dict.fromkeys(SERVICES, 0.0)
    with run.load(), run.trouble():
        for _ in range(20):
            run.fleet.pause(0.5)
            for service in SERVICES:
                held = sum(run.fleet.metric(replica, "sidan_lease_held") for replica in run.fleet.replicas(service))
                most[service] = max(most[service], held)
    run.expect(set(most.values()) == {1.0}, f"of two replicas one leads: {most}")


@scenario("F43", "hours are reversed by several people at once, and again", layout=TWICE, without="compare-and-set")
def reversed_together(run: Run) -> None:
    sheets = run.fleet.database("activities")["timesheets"]
    for life in run.lives(6):
        hours = record_id(life.order, 0)
        effective = {"records": {"$elemMatch": {"id": hours, "state": "effective"}}}
        run.fleet.until(partial(sheets.find_one, effective), 30, hours)
        racers = Racers(run, 6)
        path, body = f"/v1/hours/{hours}/reverse", {"reason": "登记有误"}
        moves = [partial(racer.send, "reverse", life.village.staff, path, body) for racer in racers.of(life)]
        statuses = sorted(status for status, _ in at_once(moves))
        racers.close()
        run.result.faults += len(moves)
        run.expect(statuses == [200, 409, 409, 409, 409, 409], f"one reversal of six: {statuses}")


@scenario(
    "F47", "strangers, forged tokens and slow connections, while others work", per_commit=True, without="permissions"
)
def strangers(run: Run) -> None:
    """Nobody sees or changes what is not theirs, and those who work do not wait for those who dawdle."""
    gateway = run.fleet.gateways[0]
    slow = []
    with run.load() as load:
        with run.trouble(faults=SLOW_LORIS):
            for _ in range(SLOW_LORIS):
                one = socket.create_connection(("127.0.0.1", run.fleet.port))
                one.sendall(b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{")
                slow.append(one)
            run.fleet.pause(3)
        (life,) = run.lives(1)
        far = next(v for v in load.villages if v.site != life.village.site)
        for who in (far.resident, far.staff, far.teams[0].leader):
            with httpx.Client(base_url=gateway, headers=run.fleet.person(who).headers, trust_env=False) as http:
                answers = [http.get(f"/v1/orders/{life.order}"), http.get(f"/v1/orders/{life.order}/timeline")]
                answers += [
                    http.post(f"/v1/orders/{life.order}/{c}", json={"reason": "x"}) for c in ("cancel", "reopen")
                ]
                run.expect({a.status_code for a in answers} <= {403, 404}, f"{who} is refused: {answers}")
        with httpx.Client(base_url=gateway, headers=NOBODY, trust_env=False) as http:
            answers = [http.get(f"/v1/orders/{life.order}"), http.post("/v1/orders", json={})]
            run.expect({a.status_code for a in answers} == {401}, f"a forged token is refused: {answers}")
    for one in slow:
        one.close()


@scenario("F49", "the gateway runs out of file descriptors", without="accept-guard")
def no_descriptors(run: Run) -> None:
    pid = run.fleet.processes["gateway"].pid
    assert pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = len(os.listdir(f"/proc/{pid}/fd"))
    with run.load(), run.trouble():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 4, before[1]))
        idle = [socket.create_connection(("127.0.0.1", run.fleet.port)) for _ in range(60)]
        run.fleet.pause(5)
        for one in idle:
            one.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    run.expect(run.fleet.processes["gateway"].pid == pid, "it is the same process")


@scenario("F50", "nobody reads the log any more", without="log-guard")
def log_sink_blocked(run: Run) -> None:
    """Log lines are dropped and counted; work goes on."""
    pipe = run.fleet.folder / "log.pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.DEVNULL)
    name, process = "dispatch", run.fleet.processes["dispatch"]
    file, process.log = process.log, pipe
    try:
        run.fleet.restart_with(name, SIDAN_LOG_LEVEL="DEBUG", FAULTS_WRAP="chatter:50")
        run.fleet.until(lambda: run.fleet.serving(name), 30, name)
        with run.load(), run.trouble():
            reader.send_signal(signal.SIGSTOP)
            run.fleet.pause(6)
            dropped = run.fleet.metric(name, "sidan_log_lines_dropped_total")
        run.expect(dropped > 0, "lines were dropped, and counted")
    finally:
        process.log = file
        reader.send_signal(signal.SIGCONT)
        run.fleet.restart_with(name, SIDAN_LOG_LEVEL="INFO", FAULTS_WRAP="")
        reader.wait(10)


@scenario("F51", "wrong settings at the start", without="settings-check")
def wrong_settings(run: Run) -> None:
    """One clear line, an exit code, and nothing declared."""
    right = run.fleet.processes["points"].env
    for variable, value in WRONG.items():
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.entry", "points"],
            env={**right, variable: value}, cwd=ROOT, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        run.result.faults += 1
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
        run.expect(
            done.returncode and len(lines) == 1 and variable in lines[0], f"{variable}: {done.returncode} {lines}"
        )
        run.expect(value not in lines[0] or value in ("", "fast", "many"), f"{variable}: its value is not told")


@scenario("F52", "events of a newer version, with more than is known here", without="tolerant-reader")
def newer_versions(run: Run) -> None:
    """Additions are ignored; another version is not ours; nothing dies and nothing is set aside."""
    with run.load(plans=("straight",)), run.trouble(faults=0):
        run.fleet.pause(3)
        known = [event for event in run.published() if event.fact.startswith(("order.", "hours."))]
        with run.fleet.channel() as channel:
            for event in known:
                body = {**orjson.loads(event.body), "added_later": {"a": [1]}}
                send(
                    channel,
                    f"{event.source.rpartition('/')[2]}.events",
                    event.routing_key,
                    orjson.dumps(body),
                    event.headers,
                )
                run.result.faults += 1
            for subscription in subscriptions():
                newer = envelope_of(subscription.event)
                newer[PREFIX + "type"] = newer[PREFIX + "type"].removesuffix("v1") + "v2"
                send(channel, "", subscription.queue, b'{"all": "different"}', newer)
                run.result.faults += 1
    done = [i for i in run.intents() if i.state == DONE]
    run.expect(done, "lives went on")


@scenario("F55", "somebody changes the ledger by hand", without="hash-chain")
def tampered_ledger(run: Run) -> None:
    chain = patch("services.points.verify.verify_chain", lambda *_: ()) if run.without else nullcontext()
    with chain:
        tamper(run)


def tamper(run: Run) -> None:
    with run.load(plans=("straight",)):
        run.fleet.pause(1)
    run.rest()
    transfers = run.fleet.database("points")["transfers"]
    for change in (
        {"entries.1.amount": 1000},
        {"entries.1.balance": 1000},
        {"reason": "礼物"},
        {"source_id": "h-other"},
    ):
        row = transfers.find_one({"entries.1.amount": {"$gt": 0}})
        transfers.update_one({"_id": row["_id"]}, {"$set": change})
        findings = list(verify(run.fleet.database("points")))
        run.expect(any(row["_id"] in finding for finding in findings), f"{change} is named: {findings[:2]}")
        transfers.replace_one({"_id": row["_id"]}, row)
        run.result.faults += 1
    row = transfers.find_one({"entries.1.amount": {"$gt": 0}})
    transfers.delete_one({"_id": row["_id"]})
    run.expect(list(verify(run.fleet.database("points"))), "a missing transfer is found")
    transfers.insert_one(row)
