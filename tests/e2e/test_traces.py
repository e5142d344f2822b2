"""After all that other tests have done: who somebody is, where they live and what they wish stands nowhere in clear.

Run alone, it looks at one life of an order. ``make test`` runs it after the other tests of the whole system.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from deploy.reference import demo
from deploy.topology import subscriptions
from services.chassis.topology import DEAD_SUFFIX
from tests.e2e import test_authorisation, test_operation
from tests.e2e.records import SAMPLES, Keeper, sample_of
from tests.e2e.steps import TEAMS, VILLAGE, WISH, Steps, send_photo
from tests.faults.log import EventLog
from tests.support.pictures import CANARY as PLACE
from tests.support.pictures import a_photo
from tests.support.processes import eventually
from tests.support.rows import a_csv
from tests.support.system import System

CANARIES = {
    "name": "金丝雀老李",
    "phone": "13787654321",
    "id number": "130803194001010018",
    "address": "金丝雀胡同五十一号",
    "description": "金丝雀的水管漏了",
    "summary": "金丝雀的水管修好了",
    "comment": "金丝雀很满意",
    "message": "金丝雀问您几点在家",
    "note": "金丝雀耳背，请大声些",
    "reopening": "金丝雀摔了一跤，头发没有理完",
    "complaint": "金丝雀说收了二十元",
    "visit": "金丝雀家的狗没有拴",
    "asked for": "金丝雀要找的人",
    "called": "0314-7654321",
    "quarrel": "金丝雀和邻居争院墙",
    "referral": "金丝雀两家都不让步",
    "photo": PLACE,
    "outcome": "金丝雀的钱已经退回",
    "support": "金丝雀家要一把轮椅",
    "support's answer": "轮椅已送到金丝雀家",
    "support's comment": "金丝雀很高兴",
    "series' address": "金丝雀大街九十九号",
    "series' description": "金丝雀每天要一份饭",
    "series' end": "金丝雀搬到女儿家了",
    "suspension": "金丝雀三次没有到场",
    "resumption": "金丝雀已经说明情况",
    "real name": "金丝雀的姓名与身份证号不符",
    "team": "金丝雀的队伍并入别队",
    "imported name": "金丝雀老钱",
    "imported phone": "13787654322",
    "imported id number": "130803194001010025",
    "imported file": "金丝雀的名单",
    "wrong cell": "金丝雀填错的一格",
    "household": "金丝雀一家",
    "contact": "金丝雀的联系人",
    "minutes": "金丝雀在会上发言",
    "retirement": "金丝雀已经搬走",
    "number for short messages": "13787654323",
}
STORED = (
    "registry.volunteers",
    "registry.volunteer_log",
    "registry.teams",
    "dispatch.orders",
    "dispatch.series",
    "dispatch.cases",
    "dispatch.support_requests",
    "dispatch.notes",
    "dispatch.photos",
    "registry.records",
    "registry.record_log",
    "registry.imports",
    "registry.import_rows",
    "registry.accounts",
    "registry.notifications",
)
WORDS = {
    "wish of the tests": WISH["description"],
    "address": test_authorisation.ADDRESS,
    "phone": test_authorisation.PHONE,
    "other phone": test_operation.CANARY_PHONE,
    "other address": test_operation.CANARY_ADDRESS,
    "other name": test_operation.CANARY_NAME,
}


def _personal() -> dict[str, str]:
    """By whose or what it is."""
    people = {f"{a.id}'s name": a.name for a in demo.accounts() if a.kind == "person" and a.id != "admin"}
    for volunteer in demo.volunteers():
        people[f"{volunteer.id}'s name"] = volunteer.name
        people[f"{volunteer.id}'s number"], people[f"{volunteer.id}'s phone"] = volunteer.id_number, volunteer.phone
    return people | WORDS | CANARIES


def _life(steps: Steps) -> None:
    """With something personal wherever a text is taken, and a key, so that its answers are kept."""
    resident = steps.system.person("resident")
    contact = {"name": CANARIES["asked for"], "phone": CANARIES["called"]}
    phone, wish = CANARIES["phone"], {**WISH, "address": CANARIES["address"], "contact": contact}
    placed = resident.post("/v1/orders", {**wish, "description": f"{CANARIES['description']}，{phone}"}, "canary-place")
    order = placed.raise_for_status().json()
    path, leader = f"/v1/orders/{order['id']}", steps.system.person("leader1")
    record = steps.system.segment("vol-leader1", 1)
    moves = (
        (leader, "accept", {"team": TEAMS["leader1"]}),
        (leader, "message", {"text": CANARIES["message"], "needs_reply": True}),
        (steps.system.person("station"), "note", {"text": CANARIES["note"]}),
        (leader, "photos", a_photo()),
        (leader, "start", {}),
        (leader, "complete", {"records": [record], "summary": CANARIES["summary"]}),
        (resident, "rate", {"score": 5, "comment": CANARIES["comment"]}),
        (leader, "rate-visit", {"score": 4, "comment": CANARIES["visit"]}),
        (resident, "complain", {"about": "quality", "text": CANARIES["complaint"]}),
        (steps.system.person("station"), "close", {}),
        (resident, "reopen", {"reason": f"{CANARIES['reopening']}，请打 {phone}"}),
    )
    for who, move, body in moves:
        if isinstance(body, bytes):
            photo = send_photo(who, order, body, key=f"canary-{move}").raise_for_status().json()
            assert resident.get(photo["url"]).is_success
            continue
        who.post(f"{path}/{move}", body, f"canary-{move}").raise_for_status()
    station = steps.system.person("station")
    (case,) = [c for c in station.read("/v1/cases?state=open&limit=200")["items"] if c["order"] == order["id"]]
    quarrel = {"kind": "mediation", "text": CANARIES["quarrel"]}
    reported = resident.post("/v1/cases", quarrel, "canary-report").json()["id"]
    refer = f"/v1/cases/{reported}/refer"
    station.post(refer, {"reason": CANARIES["referral"]}, "canary-refer").raise_for_status()
    station.post(f"/v1/cases/{case['id']}/settle", {"outcome": CANARIES["outcome"]}, "canary-settle").raise_for_status()
    center, goods = steps.system.person("center"), [{"name": "轮椅", "count": 1}]
    wish = {"kind": "material", "text": f"{CANARIES['support']}，{phone}", "goods": goods}
    asked = station.post("/v1/support-requests", wish, "canary-support").raise_for_status().headers["location"]
    center.post(f"{asked}/answer", {"text": CANARIES["support's answer"]}, "canary-answer").raise_for_status()
    rating = {"score": 5, "comment": CANARIES["support's comment"]}
    station.post(f"{asked}/rate", rating, "canary-rate-support").raise_for_status()
    wrong = {"name": CANARIES["name"], "id_number": CANARIES["id number"], "phone": "x"}
    assert steps.system.person("resident2").post("/v1/volunteers", wrong).status_code == 422
    _vouch(steps)
    steps.settled(order, "vol-leader1")


def _wishes(steps: Steps) -> None:
    """How somebody wants to be told."""
    resident, number = steps.system.person("resident2"), CANARIES["number for short messages"]
    path = "/v1/notification-preferences"
    assert resident.post(path, {"phone": number}, "canary-wishes").json()["phone"] == "137****4323"
    assert resident.post(path, {"phone": f"{number}1"}).status_code == 422
    eventually(lambda: steps.system.person("resident").read("/v1/notifications")["items"], what="the resident is told")


def _series(steps: Steps) -> None:
    """With an order that it has placed by itself, and one that was called off."""
    resident, phone, start = steps.system.person("resident"), CANARIES["phone"], steps.system.midnight()
    wished, ended = CANARIES["series' description"], CANARIES["series' end"]
    wish = {
        **WISH, "address": CANARIES["series' address"], "description": f"{wished}，{phone}",
        "rule": "FREQ=DAILY;COUNT=3", "start": (start + timedelta(days=1, hours=9)).isoformat(), "lead_days": 2,
    }  # fmt: skip
    started = resident.post("/v1/series", wish, "canary-series").raise_for_status()
    path = started.headers["location"]
    placed = eventually(lambda: resident.read(path)["next"][1]["order"], what="orders of the series")
    assert steps.order({"id": placed}, "resident")["address"] == CANARIES["series' address"]
    skipped = {"occurrence": started.json()["next"][0]["occurrence"], "reason": f"请打 {phone}"}
    resident.post(f"{path}/skip", skipped, "canary-skip").raise_for_status()
    until = {"from": start.date().isoformat(), "reason": f"{ended}，{phone}"}
    resident.post(f"{path}/end", until, "canary-end").raise_for_status()
    day = f"/v1/sites/{VILLAGE}/day?date={(start + timedelta(days=1)).date()}"
    assert steps.system.person("station").get(day, headers={"Accept": "text/html"}).is_success


def _import(steps: Steps) -> None:
    """One is carried out and one is only looked at."""
    station = steps.system.person("station-county")
    right = {"姓名": "imported name", "身份证号": "imported id number", "手机号": "imported phone"}
    row = {heading: CANARIES[name] for heading, name in right.items()} | {"同意书版本": "1"}
    for rows in ([row, row | {"技能": CANARIES["wrong cell"] + "1"}], [row]):
        path = f"/v1/imports?kind=volunteers&file={CANARIES['imported file']}"
        begun = station.request("POST", path, f"canary-{len(rows)}", content=a_csv(rows)).raise_for_status()
    carried_out = begun.headers["location"]
    assert CANARIES["imported name"] in station.get(f"{carried_out}/rows").text
    station.post(f"{carried_out}/execute", {}, "canary-execute").raise_for_status()
    eventually(lambda: station.read(carried_out)["state"] == "done", what="the import is carried out")
    assert CANARIES["imported name"] in station.get("/v1/exports/volunteers?format=csv").text


def _vouch(steps: Steps) -> None:
    """What staff write down of a volunteer."""
    path, station = "/v1/volunteers/vol-volunteer2", steps.system.person("station")
    changes = (
        ("suspend", {"reason": CANARIES["suspension"]}),
        ("resume", {"reason": CANARIES["resumption"]}),
        ("real-name", {"result": "failed", "reason": CANARIES["real name"]}),
        ("real-name", {"result": "passed"}),
    )
    for change, body in changes:
        station.post(f"{path}/{change}", body, f"canary-{change}-{body.get('result')}").raise_for_status()
    for number, status in (({"phone": CANARIES["phone"]}, 200), ({"id_number": CANARIES["id number"]}, 422)):
        assert station.post("/v1/volunteers/lookup", number, f"canary-{status}").status_code == status
    assert CANARIES["suspension"] in station.get(f"{path}/log").text
    team = steps.system.person("volunteer2").do("/v1/teams", {"name": "护河队", "categories": ["环境保护"]})
    station.post(f"/v1/teams/{team['id']}/dissolve", {"reason": CANARIES["team"]}, "canary-team").raise_for_status()


def _records(system: System) -> None:
    """With somebody in them, and in what was there before."""
    keeper, phone = Keeper(system, "station", VILLAGE), CANARIES["phone"]
    kept = {
        "households": {"number": CANARIES["household"], "members": [{"name": CANARIES["name"], "phone": phone}]},
        "organisations": {"contact": CANARIES["contact"], "phone": phone},
        "meetings": {"attendees": [CANARIES["name"]], "minutes": CANARIES["minutes"]},
    }
    for kind, fields in kept.items():
        sent = sample_of(kind, keeper, **fields)
        path = keeper.person.post(f"/v1/{kind}", sent, f"canary-{kind}").raise_for_status().headers["location"]
        again = {name: value for name, value in SAMPLES[kind].items() if name in ("members", "contact", "decisions")}
        keeper.person.post(f"{path}/change", again, f"canary-{kind}-change").raise_for_status()
        assert keeper.person.get(f"/v1/{kind}?limit=5").is_success
        wrong = {**sent, "colour": phone, "type": CANARIES["name"]}
        assert keeper.person.post(f"/v1/{kind}", wrong).status_code == 422
        keeper.person.do(f"{path}/retire", {"reason": CANARIES["retirement"]})
        assert CANARIES["retirement"] in keeper.person.get(f"{path}/log").text


def _places(system: System, rabbitmq: RabbitMQ, mongodb: MongoDB) -> Iterator[tuple[str, bytes]]:
    """Everything that is kept or told, by where it is."""
    for folder in (system.folder, mongodb.data_dir / "log", rabbitmq.data_dir / "log"):
        for file in filter(Path.is_file, folder.iterdir()):
            yield f"log {file.name}", file.read_bytes()
    yield "metrics", system.http.get("/metrics").content
    yield "answers", "\n".join(system.refusals).encode()
    yield "events", "\n".join(event.text for event in EventLog(system).read()).encode()
    yield "messages", "\n".join(_messages(system)).encode()
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        for name in (n for n in client.list_database_names() if n.startswith(system.prefix)):
            for collection in client[name].list_collection_names():
                yield f"{name}.{collection}", b"".join(client[name][collection].find_raw_batches())
        ours = {"ns": {"$regex": f"^{system.prefix}", "$not": {"$regex": "leases$"}}}
        yield "oplog", b"".join(client["local"]["oplog.rs"].find_raw_batches(ours))  # all that was ever written


def _messages(system: System) -> Iterator[str]:
    """What waits, and what is dead, with headers; all goes back where it was."""
    with system.channel() as channel:
        for queue in (q for s in subscriptions() for q in (s.queue, s.queue + DEAD_SUFFIX)):
            while message := channel.basic_get(queue):
                yield f"{message.headers} {message.body}"


def _ways(word: str) -> set[bytes]:
    """As it is, and as JSON or a URL writes it."""
    return {way.encode() for way in (word, json.dumps(word).strip('"'), quote(word))}


def test_nothing_personal_is_left_in_clear_anywhere(
    system: System, steps: Steps, rabbitmq: RabbitMQ, mongodb: MongoDB
) -> None:
    _life(steps)
    _wishes(steps)
    _series(steps)
    _import(steps)
    _records(system)
    words = {way: whose for whose, word in _personal().items() for way in _ways(word)}
    places = list(_places(system, rabbitmq, mongodb))
    found = {(place, whose) for place, content in places for way, whose in words.items() if way in content}
    assert sorted(found) == []
    stored = [f"{system.prefix}{name}" for name in STORED]
    filled = {place for place, content in places if content}
    assert {"log dispatch.log", "log mongod.log", "metrics", "answers", "events", "oplog", *stored} <= filled
