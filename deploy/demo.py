"""``make demo``: an order that nobody at the station takes, from the wish to the points.

Every request carries an idempotency key and is sent again until its outcome is known, so that a process
may die at any moment of it.
"""

import http.client
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from deploy.local.environment import data_dir
from services.chassis.messages import Envelope

Passing = SimpleQueue[Envelope]
CHINA = ZoneInfo("Asia/Shanghai")
PATIENCE = 90.0
"""Seconds that one step may take, restarts of what it needs included."""
PAUSE = 0.3  # seconds
SERVICE = timedelta(minutes=6)
ITEM = "home-haircut"
ABOVE = {"institute": ("leader3", "institute"), "center": ("leader4", "center")}
"""Who accepts and who closes at a tier."""


class Refused(Exception):
    """The system said no."""


class Client:
    """One account's requests."""

    def __init__(self, address: str, username: str) -> None:
        self._host = urlsplit(address).netloc
        self._username, self._token = username, ""

    def get(self, path: str) -> Any:
        return self._until_known("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._until_known("POST", path, body)

    def _until_known(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        key, until = str(uuid.uuid4()), time.monotonic() + PATIENCE
        while True:
            try:
                status, answer = self._once(method, path, body, key)
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = 503, {}
            if status < 300:
                return answer
            if status == 401:
                self._token = ""
            elif status < 500:
                raise Refused(f"{method} {path}: {status} {answer.get('detail')}")
            if time.monotonic() > until:
                raise Refused(f"{method} {path}: no answer within {PATIENCE:g} s")
            time.sleep(PAUSE)

    def _once(self, method: str, path: str, body: dict[str, Any] | None, key: str) -> tuple[int, Any]:
        if not self._token:
            form = {"grant_type": "password", "username": self._username, "password": "demo"}
            status, answer = self._send(
                "POST", "/oauth/token", urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
            )
            if status != 200:
                return (status, answer) if status != 401 else (403, answer)
            self._token = answer["access_token"]
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        content = None
        if body is not None:
            headers["Idempotency-Key"] = key
            content = json.dumps(body)
        return self._send(method, path, content, headers)

    def _send(self, method: str, path: str, content: str | None, headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._host, timeout=6)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def main() -> int:
    endpoints = running()
    people = {
        name: Client(endpoints["http"], name)
        for name in ("resident", "station", "leader3", "institute", "leader4", "center")
    }
    passing = _watch(endpoints["amqp"])
    _write("all times are Chinese time (Asia/Shanghai)")
    try:
        order = _play(people, passing)
        _report(people, order)
    except Refused as error:
        print(f"\nthe demo stopped: {error}", file=sys.stderr)
        return 1
    return 0


def running() -> dict[str, str]:
    """The addresses of the system that runs; exit when there is none."""
    path = data_dir() / "run" / "endpoints.json"
    if not path.exists():
        sys.exit(f"no system runs in {data_dir()} (SIDAN_DATA_DIR): start one with `make run` in another terminal")
    return dict(json.loads(path.read_text()))


def _play(people: dict[str, Client], passing: Passing) -> dict[str, Any]:
    placed = people["resident"].post(
        "/v1/orders", {"service_item": ITEM, "description": "给腿脚不便的老人上门理发", "target_group": "elderly"}
    )
    path, due = f"/v1/orders/{placed['id']}", datetime.fromisoformat(placed["due_at"])
    _say(f"the resident placed order {placed['id']}; due at the {placed['tier']} by {due.astimezone(CHINA):%F %T}")
    threading.Thread(target=_tell, args=(passing, placed["id"]), daemon=True).start()
    _climb(people, path, due)
    leader, staff, team = _accept(people, path)
    _say(f"accepted by {team['name']}")
    leader.post(f"{path}/start", {})
    leader.post(f"{path}/complete", {"records": _records(people, team), "summary": "理发一次，老人很满意"})
    people["resident"].post(f"{path}/rate", {"score": 5, "comment": "谢谢"})
    closed = staff.post(f"{path}/close", {})
    _say(f"the order is {closed['state']}")
    return dict(closed)


def _accept(people: dict[str, Client], path: str) -> tuple[Client, Client, dict[str, Any]]:
    """The team of the tier that the order has come to; while something is down the clock goes on."""
    for _ in range(len(ABOVE) + 1):
        tier = people["resident"].get(path)["tier"]
        leader, staff = (people[name] for name in ABOVE[tier])
        team = leader.get("/v1/me")["teams"][0]
        try:
            leader.post(f"{path}/accept", {"team": team["id"]})
            return leader, staff, team
        except Refused as error:
            _say(f"not accepted at the {tier}: {error}")
    raise Refused("nobody could accept the order")


def _climb(people: dict[str, Client], path: str, due: datetime) -> None:
    """Nobody at the station takes it: the deadline passes, or the station sends it up by hand."""
    if due - datetime.now(CHINA) < timedelta(seconds=60):
        _say("nobody takes it; waiting for the deadline (demo profile)")
    else:
        _say("nobody takes it; the deadline is far (standard profile), so the station escalates by hand")
        people["station"].post(f"{path}/escalate", {"reason": "本站队伍都没有空"})
    _await("the order has left the station", lambda: people["resident"].get(path)["tier"] in ABOVE)


def _records(people: dict[str, Client], team: dict[str, Any]) -> list[dict[str, Any]]:
    """The latest free minutes of two members, today: what was served twice would be refused."""
    members, taken = team["members"][:2], []
    for member in members:
        hours = people["center"].get(f"/v1/volunteers/{member}/hours?limit=200")["items"]
        taken += [(h["from"], h["to"]) for h in hours if h["state"] in ("open", "effective")]
    busy = [(datetime.fromisoformat(begin), datetime.fromisoformat(end)) for begin, end in taken]
    end = datetime.now(CHINA).replace(second=0, microsecond=0)
    midnight = end.replace(hour=0, minute=0)
    while any(begin < end and end - SERVICE < until for begin, until in busy) and end - 2 * SERVICE > midnight:
        end -= SERVICE
    begin = max(midnight, end - SERVICE)
    return [{"volunteer": m, "from": begin.isoformat(), "to": end.isoformat()} for m in members]


def _report(people: dict[str, Client], order: dict[str, Any]) -> None:
    lines = ["\ntimeline"]
    for entry in people["resident"].get(f"/v1/orders/{order['id']}/timeline")["items"]:
        time_ = _clock(datetime.fromisoformat(entry["time"]))
        lines.append(f"  {time_}  {entry['tier']:<10} {entry['event']:<10} {entry['note']}".rstrip())
    _write("\n".join([*lines, "\nhours and points"]))
    for position, record in enumerate(order["records"]):
        _credited(people, order["id"], record["volunteer"], position)


def _credited(people: dict[str, Client], order_id: str, volunteer: str, position: int) -> None:
    """Exactly one hours record and one award for the segment."""
    center = people["center"]

    def hours() -> list[dict[str, Any]]:
        items = center.get(f"/v1/volunteers/{volunteer}/hours?limit=200")["items"]
        return [h for h in items if h["source"]["id"] == order_id]

    _await("hours are effective", lambda: any(h["state"] in ("effective", "refused") for h in hours()))
    (record,) = hours()
    awards: list[dict[str, Any]] = []

    def award() -> bool:
        items = center.get(f"/v1/accounts/{volunteer}/entries?limit=200")["items"]
        awards[:] = [e for e in items if e["source"]["id"] == record["id"]]
        return bool(awards)

    if record["hours"]:
        _await("points are deposited", award)
    points = sum(e["amount"] for e in awards)
    said = f"{record['hours']} h {record['state']}, {points} points in {len(awards)} entry"
    _write(f"  {volunteer}: {said}" + (f" ({record['reason']})" if record["reason"] else ""))


def _await(what: str, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > until:
            raise Refused(f"waited {PATIENCE:g} s for: {what}")
        time.sleep(PAUSE)


def _clock(time_: datetime) -> str:
    return f"{time_.astimezone(CHINA):%T.%f}"[:-3]


def _say(text: str) -> None:
    _write(f"- {text}")


def _write(text: str) -> None:
    """In one go: another thread writes events meanwhile."""
    print(f"{text}\n", end="", flush=True)


def _watch(amqp_uri: str) -> Passing:
    """What passes from now on, while the demo runs."""
    passing, ready = Passing(), threading.Event()
    threading.Thread(target=_listen, args=(amqp_uri, passing, ready), daemon=True).start()
    ready.wait(5)
    return passing


def _listen(amqp_uri: str, passing: Passing, ready: threading.Event) -> None:
    def take(message: Any) -> None:
        try:
            passing.put(Envelope.parse(message.headers, message.body))
        except ValueError:
            pass  # no event: others may publish here what they like
        message.ack()

    while True:
        try:
            with Connection(amqp_uri, connect_timeout=5) as connection:
                queue = Queue("", Exchange("sidan.events", "topic"), "#", exclusive=True)
                with connection.Consumer(queue, on_message=take):
                    ready.set()
                    while True:
                        connection.drain_events()
        except (OSError, AMQPError, OperationalError):
            time.sleep(1)  # the broker is away; it comes back


def _tell(passing: Passing, order_id: str) -> None:
    for event in of_order(order_id, iter(passing.get, None)):
        _write(f"    {_clock(event.time)}  event {event.routing_key}")


def of_order(order_id: str, events: Iterable[Envelope]) -> Iterator[Envelope]:
    """Those of the order, of its hours records and of their points, each once."""
    ours, seen = {order_id}, set[str]()
    for event in events:
        if event.id in seen or not ours & {event.subject, _cause(event)}:
            continue
        seen.add(event.id)
        if event.source == "/sidan/activities":
            ours.add(event.subject)
        yield event


def _cause(event: Envelope) -> str | None:
    """The id of what hours or points come from."""
    source = json.loads(event.data).get("source")
    return source["id"] if source else None


if __name__ == "__main__":
    sys.exit(main())
