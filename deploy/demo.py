"""``make demo``: an order that nobody at the station takes, from the wish to the points; an incident that cannot
wait; a quarrel that is mediated; a daughter who orders for her mother; chairs for a lecture; and a day of the
canteen, with its list.

Every request carries an idempotency key and is sent again until its outcome is known, so that a process
may die at any moment of it.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Any

from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from deploy.client import PATIENCE, PAUSE, Client, Refused, running
from deploy.reference import series
from services.chassis.messages import Envelope
from services.contracts.zone import CHINA

Passing = SimpleQueue[Envelope]
SERVICE = timedelta(minutes=6)
ITEM = "home-haircut"
INCIDENT = "tidy-up"
SITE = "130802103202"
HOUSEHOLD = "庄头营 12 户"
HANDS = {"station": ("leader1", "station"), "institute": ("leader3", "institute"), "center": ("leader4", "center")}
"""Who accepts and who closes at a tier."""


def main() -> int:
    endpoints = running()
    people = {
        name: Client(endpoints["http"], name)
        for name in ("resident", "station", "leader1", "leader3", "institute", "leader4", "center", "resident2")
    }
    passing = _watch(endpoints["amqp"])
    _write("all times are Chinese time (Asia/Shanghai)")
    try:
        played = _play(people, passing)
        _report(people, played)
        _told(people["resident"], played["id"])
        _report(people, _incident(people))
        _quarrel(people)
        _proxy(people)
        _support(people)
        _canteen(endpoints["http"], people)
    except Refused as error:
        print(f"\nthe demo stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _play(people: dict[str, Client], passing: Passing) -> dict[str, Any]:
    placed = people["resident"].post(
        "/v1/orders", {"service_item": ITEM, "description": "给腿脚不便的老人上门理发", "target_group": "elderly"}
    )
    path, due = f"/v1/orders/{placed['id']}", datetime.fromisoformat(placed["due_at"])
    _say(f"the resident placed order {placed['id']}; due at the {placed['tier']} by {due.astimezone(CHINA):%F %T}")
    threading.Thread(target=_tell, args=(passing, placed["id"]), daemon=True).start()
    joined = people["resident2"].post(f"{path}/join", {})
    _say(f"a neighbour needs the same: {joined['needed_by']} people")
    _climb(people, path, due)
    return _serve(people, path, "理发一次，老人很满意")


def _quarrel(people: dict[str, Client]) -> None:
    """What the station cannot settle goes up a tier."""
    _write("\na quarrel")
    quarrel = {"kind": "mediation", "text": "两家为院墙吵起来了，请来人调解", "urgent": True}
    case = people["resident2"].post("/v1/cases", quarrel)
    due = datetime.fromisoformat(case["due_at"]).astimezone(CHINA)
    _say(f"a neighbour reports it: {case['title']}; the station should have settled it by {due:%F %T}")
    path = f"/v1/cases/{case['id']}"
    people["station"].post(f"{path}/take", {})
    people["station"].post(f"{path}/refer", {"reason": "两家都不让步"})
    settled = people["institute"].post(f"{path}/settle", {"outcome": "和司法所一起说好了，院墙往里让一尺"})
    steps = " → ".join(entry["event"] for entry in settled["timeline"])
    _say(f"{steps}: {settled['outcome']}")


def _proxy(people: dict[str, Client]) -> None:
    """The station says once who orders for whom; both stand in the order."""
    _write("\na daughter orders for her mother")
    proxy, mother = (people[name].get("/v1/me")["id"] for name in ("resident2", "resident"))
    known = people["station"].get(f"/v1/households?site={SITE}&limit=200")["items"]
    if HOUSEHOLD not in [household["number"] for household in known]:
        members = [
            {"name": "王秀兰", "account": mother},
            {"name": "王小红", "relation": "女儿", "account": proxy, "proxy": True},
        ]
        people["station"].post("/v1/households", {"site": SITE, "number": HOUSEHOLD, "members": members})
    for_whom = people["resident2"].get("/v1/beneficiaries")["items"]
    _say(f"she may order for {'、'.join(person['name'] for person in for_whom)}")
    wish = {"service_item": ITEM, "description": "请上门给我妈理发", "target_group": "elderly"}
    placed: dict[str, Any] = {}

    def is_placed() -> bool:
        """Dispatch hears of the household a moment later."""
        try:
            placed.update(people["resident2"].post("/v1/orders", {**wish, "on_behalf_of": mother}))
        except Refused:
            return False
        return True

    _await("her order is placed", is_placed)
    first = people["resident"].get(f"/v1/orders/{placed['id']}/timeline")["items"][0]
    _say(f"order {placed['id']} is her mother's, placed by {first['actor']}")
    people["resident2"].post(f"/v1/orders/{placed['id']}/cancel", {"reason": "改天再约"})


def _support(people: dict[str, Client]) -> None:
    _write("\nchairs for a lecture")
    chairs = [{"name": "椅子", "count": 20}]
    asked = people["station"].post(
        "/v1/support-requests", {"kind": "material", "text": "周末大讲堂缺椅子", "goods": chairs}
    )
    due = datetime.fromisoformat(asked["due_at"]).astimezone(CHINA)
    _say(f"the station asks the center for 20 chairs; due by {due:%F %T}")
    path = f"/v1/support-requests/{asked['id']}"
    people["center"].post(f"{path}/answer", {"text": "周五下午送到", "goods": chairs})
    rated = people["station"].post(f"{path}/rate", {"score": 5})
    _say(f"the center has sent them, the station is content: {rated['state']}")


def _incident(people: dict[str, Client]) -> dict[str, Any]:
    """Urgent: the tiers above know of it at once, and the clock runs at night and on Sundays too."""
    _write("\nan incident")
    wish = {"service_item": INCIDENT, "target_group": "in_need", "address": "庄头营村 8 号", "urgent": True}
    placed = people["resident"].post("/v1/orders", {**wish, "description": "水管爆裂，屋里进水，请尽快来人清扫"})
    due = datetime.fromisoformat(placed["due_at"]).astimezone(CHINA)
    _say(f"the resident placed urgent order {placed['id']}; due at the {placed['tier']} by {due:%F %T}")
    waiting = people["leader1"].get("/v1/inbox")["items"]
    told = [f"{item['title']} {item['count']}（急 {item.get('urgent', 0)}）" for item in waiting if item["count"]]
    _say(f"what waits for a leader: {'；'.join(told)}")
    found = people["station"].get("/v1/volunteers?q=syl")["items"]
    _say(f"the station looks for “syl”: {'、'.join(volunteer['name'] for volunteer in found)}")
    closed = _serve(people, f"/v1/orders/{placed['id']}", "关了总阀，屋里清扫干净了", score=2, comment="来得晚了些")
    _follow_up(people, closed)
    return closed


def _follow_up(people: dict[str, Client], order: dict[str, Any]) -> None:
    """A low rating waits for staff until they have looked into it."""
    staff = people[HANDS[order["tier"]][1]]
    open_cases = staff.get("/v1/cases?state=open&kind=low_rating&limit=200")["items"]
    (case,) = [case for case in open_cases if case["order"] == order["id"]]
    _say(f"rated {order['rating']['score']}: {case['title']}（“{case['text']}”）")
    settled = staff.post(f"/v1/cases/{case['id']}/settle", {"outcome": "已电话致歉，以后路上先打招呼"})
    _say(f"the case is {settled['state']}: {settled['outcome']}")


def _canteen(address: str, people: dict[str, Client]) -> None:
    """Meals come every day without anybody ordering them; what there is to do tomorrow is one list."""
    _write("\na day of the canteen")
    series.begin(address, _say)
    tomorrow = datetime.now(CHINA).date() + timedelta(days=1)
    path = f"/v1/sites/{SITE}/day?date={tomorrow}"
    _await("tomorrow's meals are orders", lambda: any(item["series"] for item in people["station"].get(path)["items"]))
    for item in people["station"].get(path)["items"]:
        begin, end = (datetime.fromisoformat(item[name]).astimezone(CHINA) for name in ("from", "to"))
        where = "to the home" if item["to_home"] else "at the station"
        _write(f"  {begin:%R}–{end:%R}  {item['service_item_name']}  {where}  {item['state']}")
    _say(f"to print it: GET {path} with Accept: text/html")


def _serve(people: dict[str, Client], path: str, summary: str, score: int = 5, comment: str = "谢谢") -> dict[str, Any]:
    leader, staff, team = _accept(people, path)
    _say(f"accepted by {team['name']}")
    start = datetime.now(CHINA) + timedelta(minutes=30)
    leader.post(f"{path}/appoint", {"from": start.isoformat(), "to": (start + timedelta(hours=1)).isoformat()})
    leader.post(f"{path}/start", {})
    leader.post(f"{path}/complete", {"records": _records(people, team), "summary": summary})
    leader.post(f"{path}/rate-visit", {"score": 5})
    people["resident"].post(f"{path}/rate", {"score": score, "comment": comment})
    closed = staff.post(f"{path}/close", {})
    _say(f"the order is {closed['state']}")
    return dict(closed)


def _accept(people: dict[str, Client], path: str) -> tuple[Client, Client, dict[str, Any]]:
    """The team of the tier that the order has come to; while something is down the clock goes on."""
    for _ in range(len(HANDS)):
        tier = people["resident"].get(path)["tier"]
        leader, staff = (people[name] for name in HANDS[tier])
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
    _await("the order has left the station", lambda: people["resident"].get(path)["tier"] != "station")


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


def _told(resident: Client, order_id: str) -> None:
    """What the resident has read in the app meanwhile."""

    def items() -> list[dict[str, Any]]:
        found = resident.get("/v1/notifications?limit=200")["items"]
        return [n for n in found[::-1] if n["subject"]["id"] == order_id]

    _await("the resident is told", lambda: any(n["kind"] == "order.completed" for n in items()))
    _write("\n".join(["\nnotifications of the resident", *(f"  {n['text']}" for n in items())]))


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
