"""What the interface answers to input that is wrong, forged, too large or sent twice: never a `500`, never a trace."""

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo import MongoClient

from tests.e2e.steps import TEAMS, WISH, Steps
from tests.support.system import Person, System, record, sign_in

MEGABYTE = 1_000_000
FUZZED = 200


@pytest.fixture
def resident(system: System) -> Person:
    return system.person("resident")


def slug(response: httpx.Response) -> str:
    return str(response.json()["type"].rpartition("/")[2])


def paths(response: httpx.Response) -> list[str]:
    assert (response.status_code, slug(response)) == (422, "invalid"), response.text
    fields = response.json()["fields"]
    assert all(re.match("[\u4e00-\u9fff]", field["message"]) for field in fields), "in Chinese"
    return [field["path"] for field in fields]


def send(person: Person, content: bytes | str, path: str = "/v1/orders", **headers: str) -> httpx.Response:
    return person.request("POST", path, content=content, headers={"Content-Type": "application/json", **headers})


# -- what cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b'{"service_item": "home-haircut"', b"{'service_item': 1}", b"", b"\x00", b"\xff\xfe{}", b"{} {}", b"nonsense",
        b'{"description": "\xc3\x28"}', b"[" * 100_000, b'{"a":' * 100_000, b'{"urgent": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda content: repr(content[:24]),
)  # fmt: skip
def test_what_is_no_json_is_malformed(resident: Person, content: bytes) -> None:
    response = send(resident, content)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code in ((400, 422) if content == b"" else (400,)), response.text


def test_json_that_does_not_say_so_is_malformed_and_told_how_to(resident: Person) -> None:
    response = send(resident, json.dumps(WISH), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (response.status_code, slug(response)) == (400, "malformed")
    assert "Content-Type: application/json" in response.json()["detail"]


@pytest.mark.parametrize("content", [b"null", b"[]", b'"text"', b"1", b"true", b"NaN"])
def test_json_that_is_no_object_is_refused(resident: Person, content: bytes) -> None:
    assert send(resident, content).status_code in (400, 422)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"colour": "red"}, "colour"),
        ({"service_item": 5}, "service_item"),
        ({"service_item": {"$ne": None}}, "service_item"),
        ({"service_item": ["home-haircut"]}, "service_item"),
        ({"service_item": "no such item"}, "service_item"),
        ({"service_item": "unknown"}, "service_item"),
        ({"service_item": ""}, "service_item"),
        ({"service_item": "home-haircut\n"}, "service_item"),
        ({"service_item": "home\u0000haircut"}, "service_item"),
        ({"description": None}, "description"),
        ({"description": ""}, "description"),
        ({"description": "   "}, "description"),
        ({"description": "长" * 2001}, "description"),
        ({"description": {"$gt": ""}}, "description"),
        ({"target_group": "everybody"}, "target_group"),
        ({"target_group": {"$in": ["elderly"]}}, "target_group"),
        ({"urgent": "perhaps"}, "urgent"),
        ({"urgent": 10**30}, "urgent"),
        ({"address": "x" * 301}, "address"),
        ({"site": "13080210320"}, "site"),
        ({"site": {"$regex": ".*"}}, "site"),
        ({"preferred": {"from": "soon", "to": "later"}}, "preferred.from"),
        ({"preferred": {"from": "2026-10-01T09:00:00", "to": "2026-10-01T10:00:00"}}, "preferred.from"),
        ({"preferred": {"from": "2030-10-01T10:00:00+08:00", "to": "2030-10-01T09:00:00+08:00"}}, "preferred.to"),
        ({"preferred": {"from": "2030-10-01T09:00:00+08:00"}}, "preferred.to"),
        ({"preferred": {"start": "2030-10-01T09:00:00Z", "end": "2030-10-01T10:00:00Z"}}, "preferred.start"),
        ({"preferred": {"from": 10**30, "to": 10**31}}, "preferred.from"),
        ({"preferred": {"from": "0001-01-01T00:00:00+14:00", "to": "2030-01-01T00:00:00Z"}}, "preferred.from"),
        ({"preferred": {"from": "2030-01-01T00:00:00Z", "to": "9999-12-31T23:59:59-12:00"}}, "preferred.to"),
        ({"$where": "sleep(1000)"}, "$where"),
        ({"address.street": "x"}, "address.street"),
        ({"__proto__": {"admin": True}}, "__proto__"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_named_by_its_path(resident: Person, changes: dict[str, Any], path: str) -> None:
    assert path in paths(resident.post("/v1/orders", {**WISH, **changes}))


@pytest.mark.parametrize("missing", WISH)
def test_a_missing_field_is_named(resident: Person, missing: str) -> None:
    assert paths(resident.post("/v1/orders", {k: v for k, v in WISH.items() if k != missing})) == [missing]


def test_an_unknown_service_item_is_told_where_the_items_are(resident: Person) -> None:
    response = resident.post("/v1/orders", {**WISH, "service_item": "unknown"})
    assert paths(response) == ["service_item"]
    assert "GET /v1/service-items" in response.json()["detail"]


@pytest.mark.parametrize(
    ("command", "body", "path"),
    [
        ("accept", {"team": {"$ne": ""}}, "team"),
        ("accept", {"team": TEAMS["leader1"], "volunteers": "vol-leader1"}, "volunteers"),
        ("accept", {"team": TEAMS["leader1"], "volunteers": [{"$gt": ""}]}, "volunteers.0"),
        ("accept", {"team": TEAMS["leader1"], "force": True}, "force"),
        ("decline", {"team": TEAMS["leader1"]}, "reason"),
        ("decline", {"team": TEAMS["leader1"], "reason": " "}, "reason"),
        ("decline", {"team": TEAMS["leader1"], "reason": "长" * 501}, "reason"),
        ("start", {"now": True}, "now"),
        ("complete", {"records": [], "summary": "x"}, "records"),
        ("complete", {"records": [{"volunteer": "v"}], "summary": "x"}, "records.0.from"),
        ("complete", {"records": [{"start": "2026-10-01T09:00:00Z"}], "summary": "x"}, "records.0.start"),
        ("complete", {"summary": "x"}, "records"),
        ("offer", {"teams": [""]}, "teams.0"),
        ("rate", {"score": 6}, "score"),
        ("rate", {"score": 0}, "score"),
        ("rate", {"score": 4.5}, "score"),
        ("rate", {"score": "5"}, "score"),
        ("rate", {"score": True}, "score"),
        ("rate", {"score": 10**30}, "score"),
        ("rate", {"score": 5, "comment": "长" * 1001}, "comment"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_of_a_command_is_named_by_its_path(
    resident: Person, command: str, body: dict[str, Any], path: str
) -> None:
    assert path in paths(resident.post(f"/v1/orders/none/{command}", body))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_what_is_no_number_is_no_score(resident: Person, number: str) -> None:
    response = send(resident, f'{{"score": {number}}}', "/v1/orders/none/rate")
    assert response.status_code in (400, 422)


@pytest.mark.parametrize(
    "content", [r'{"description": "\ud800"}', r'{"\ud800": 1}', r'{"\u0000": 1}', r'{"a\u0000$b": 1}']
)
def test_half_a_character_and_nul_are_refused_as_fields(resident: Person, content: str) -> None:
    assert send(resident, content).status_code in (400, 422)


def test_nul_characters_operators_and_dots_are_only_text_where_text_is_expected(
    resident: Person, system: System
) -> None:
    text = "\u0000 $where: {a.b: 1} </script> '; drop 🙂"
    created = resident.do("/v1/orders", {**WISH, "description": text, "address": text})
    found = resident.read(f"/v1/orders/{created['id']}")
    assert (found["description"], found["address"]) == (text.strip(), text)
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        stored = client[f"{system.prefix}dispatch"]["orders"].find_one({"_id": created["id"]})
    assert stored is not None
    assert not [key for key in _keys(stored) if key.startswith("$") or "." in key]
    assert "where" not in str(stored["description"]), "it is kept encrypted"


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for part in value.values() for key in _keys(part))]
    return [key for part in value for key in _keys(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("id", ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "none", "%00", "%24ne", "a.2", "...", "💥", "x" * 64])
def test_an_unknown_id_is_not_found(system: System, id: str) -> None:
    admin = system.person("admin")
    for path in (f"/v1/orders/{id}", f"/v1/orders/{id}/timeline", f"/v1/volunteers/{id}", f"/v1/accounts/{id}"):
        response = admin.get(path)
        assert (response.status_code, slug(response)) == (404, "not-found"), path
    assert admin.post(f"/v1/orders/{id}/close").status_code == 404
    assert admin.get("/v1/sites/130899").status_code == 404


def test_an_id_that_is_far_too_long_is_refused(system: System) -> None:
    assert system.person("admin").get(f"/v1/orders/{'x' * 65}").status_code in (404, 422)
    assert system.person("admin").get(f"/v1/volunteers/{'x' * 5000}").status_code in (404, 422)


def test_an_unknown_site_or_resident_is_not_found(system: System) -> None:
    station = system.person("station")
    assert station.post("/v1/orders", {**WISH, "site": "130802999999"}).status_code == 404
    assert station.post("/v1/orders", {**WISH, "on_behalf_of": "nobody"}).status_code == 404


def test_an_unknown_page_and_a_wrong_method_are_problems_too(system: System, resident: Person) -> None:
    assert (resident.get("/v1/nothing").status_code, slug(resident.get("/v1/nothing"))) == (404, "not-found")
    response = resident.request("DELETE", "/v1/orders")
    assert (response.status_code, response.headers["content-type"]) == (405, "application/problem+json")
    assert slug(response) == "method-not-allowed" and "allow" in response.headers


# -- what the state does not allow --------------------------------------------------------------------

ILLEGAL = [
    ("offered", "leader1", "start", {}, "offered"),
    ("offered", "station", "close", {}, "offered"),
    ("offered", "resident", "rate", {"score": 5}, "offered"),
    ("offered", "resident", "reopen", {"reason": "x"}, "offered"),
    ("accepted", "station", "escalate", {"reason": "x"}, "accepted"),
    ("accepted", "station", "reject", {"reason": "x"}, "accepted"),
    ("accepted", "leader1", "complete", {"records": ..., "summary": "x"}, "accepted"),
    ("in_service", "resident", "cancel", {"reason": "x"}, "in_service"),
    ("in_service", "leader1", "start", {}, "in_service"),
    ("completed", "leader1", "withdraw", {"team": TEAMS["leader1"], "reason": "x"}, "completed"),
    ("completed", "station", "close", {}, "completed"),
    ("rated", "resident", "rate", {"score": 5}, "rated"),
    ("closed", "station", "close", {}, "closed"),
    ("closed", "resident", "cancel", {"reason": "x"}, "closed"),
    ("closed", "station", "offer", {}, "closed"),
]


@pytest.mark.parametrize(("stage", "name", "command", "body", "state"), ILLEGAL)
def test_an_illegal_transition_says_the_state_and_what_is_possible(
    system: System, steps: Steps, stage: str, name: str, command: str, body: dict[str, Any], state: str
) -> None:
    order = steps.reach(stage)
    if "records" in body:
        body = {**body, "records": [system.segment("vol-leader1", 1)]}
    response = system.person(name).post(f"/v1/orders/{order['id']}/{command}", body)
    assert (response.status_code, slug(response)) == (409, "illegal-transition"), response.text
    assert response.json()["state"] == state
    assert response.json()["possible"] == order["possible"]
    assert command not in order["possible"]


# -- service records ----------------------------------------------------------------------------------


def test_service_records_that_cannot_be_are_refused_one_by_one(system: System, steps: Steps) -> None:
    order = steps.reach("in_service")
    midnight, now, hour = system.midnight(), system.now(), timedelta(hours=1)
    good = record("vol-leader1", midnight, midnight + hour)
    cases = {
        "in the future": ([record("vol-leader1", now + hour, now + hour + hour / 2)], "records.0.to"),
        "ending in the future": ([record("vol-leader1", midnight, now + hour)], "records.0.to"),
        "over night": ([record("vol-leader1", midnight - hour, midnight + hour)], "records.0.to"),
        "before the day of placing": ([record("vol-leader1", midnight - 3 * hour, midnight - hour)], "records.0.from"),
        "backwards": ([record("vol-leader1", midnight + hour, midnight)], "records.0.to"),
        "empty": ([record("vol-leader1", midnight, midnight)], "records.0.to"),
        "too short": ([record("vol-leader1", midnight, midnight + timedelta(seconds=59))], "records.0.to"),
        "of a stranger": ([record("vol-leader2", midnight, midnight + hour)], "records.0.volunteer"),
        "of nobody": ([record("nobody", midnight, midnight + hour)], "records.0.volunteer"),
        "overlapping": ([good, record("vol-leader1", midnight + hour / 2, midnight + 2 * hour)], "records.1"),
        "twice the same": ([good, good], "records.1"),
        "second wrong": ([good, record("vol-volunteer1", midnight + hour, midnight)], "records.1.to"),
        "without a zone": ([{**good, "from": "2026-01-01T08:00:00"}], "records.0.from"),
        "at the beginning of time": ([{**good, "from": "0001-01-01T00:00:00+14:00"}], "records.0.from"),
        "at the end of time": ([{**good, "to": "9999-12-31T23:59:59-12:00"}], "records.0.to"),
        "eleven": ([system.segment("vol-leader1", 1) for _ in range(11)], "records"),
    }
    leader, path = system.person("leader1"), f"/v1/orders/{order['id']}/complete"
    found = {name: paths(leader.post(path, {"records": r, "summary": "x"})) for name, (r, _) in cases.items()}
    assert {name: expected in found[name] for name, (_, expected) in cases.items()} == dict.fromkeys(cases, True), found
    assert steps.order(order)["state"] == "in_service"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "ftp://x", "x" * 501, 5, {"$ne": 1}])
def test_evidence_is_a_web_address(system: System, url: Any) -> None:
    body = {"records": [system.segment("vol-leader1", 1)], "summary": "x", "evidence": [url]}
    assert paths(system.person("leader1").post("/v1/orders/none/complete", body)) == ["evidence.0"]


# -- too large ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MEGABYTE + 1, 2 * MEGABYTE, 8 * MEGABYTE, 20 * MEGABYTE])
def test_a_body_over_a_megabyte_is_refused_and_the_connection_goes_on(
    system: System, resident: Person, size: int
) -> None:
    content = json.dumps({**WISH, "description": ""}).encode().ljust(size)
    with httpx.Client(base_url=system.address, headers=resident.headers, timeout=10, trust_env=False) as client:
        for _ in range(3):
            response = client.post("/v1/orders", content=content, headers={"Content-Type": "application/json"})
            assert (response.status_code, slug(response)) == (413, "too-large")
            assert client.get("/v1/me").status_code == 200


def test_a_large_body_that_does_not_say_its_length_is_refused_too(system: System, resident: Person) -> None:
    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 50_000

    for _ in range(3):
        response = resident.request("POST", "/v1/orders", content=chunks())
        assert (response.status_code, slug(response)) == (413, "too-large")
    assert system.http.post("/oauth/token", content=b"x" * 2 * MEGABYTE).status_code == 413


def test_a_body_of_just_a_megabyte_is_read(resident: Person) -> None:
    content = json.dumps(WISH).encode().ljust(MEGABYTE)
    assert send(resident, content).status_code == 201


# -- signing in ---------------------------------------------------------------------------------------


def test_a_wrong_password_and_an_unknown_account_look_the_same(system: System) -> None:
    answers = [sign_in(system.http, *who) for who in (("resident", "wrong"), ("nobody", "demo"), ("municipal", "x"))]
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(401, "invalid_grant")}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "magic", "username": "resident", "password": "demo"}, 400, "unsupported_grant_type"),
        ({"username": "resident", "password": "demo"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
        ({"grant_type": "password"}, 400, "invalid_request"),
        ({"grant_type": "password", "username": "resident"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "municipal"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "resident", "client_secret": "demo"}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "municipal", "password": "demo"}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "x" * 100, "password": "demo"}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "\u0000", "password": "\u0000"}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": '{"$ne": null}', "password": "demo"}, 401, "invalid_grant"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_token_request_that_is_wrong_is_told_so(
    system: System, form: dict[str, str], status: int, error: str
) -> None:
    response = system.http.post("/oauth/token", data=form)
    assert (response.status_code, response.json()["error"]) == (status, error)


@pytest.mark.parametrize("form", [{"username[$ne]": "x"}, {"grant_type": "x" * 300}, {"password": "x" * 300}])
def test_a_token_request_that_is_odd_is_refused(system: System, form: dict[str, str]) -> None:
    data = {"grant_type": "password", "username": "resident", "password": "wrong", **form}
    assert system.http.post("/oauth/token", data=data).status_code in (400, 401, 422)


def test_a_token_request_in_other_clothes_is_answered_properly(system: System) -> None:
    form = {"grant_type": "password", "username": "resident", "password": "demo"}
    post = system.http.post
    assert post("/oauth/token", json=form).status_code in (400, 422)
    assert post("/oauth/token", files={"username": b"x", "grant_type": b"password"}).status_code in (400, 422)
    multipart = {"Content-Type": "multipart/form-data"}
    assert post("/oauth/token", content=b"nonsense", headers=multipart).status_code in (400, 422)
    assert (
        post("/oauth/token", data={"grant_type": "client_credentials"}, auth=("municipal", "demo")).status_code == 200
    )
    assert post("/oauth/token", data={"grant_type": "client_credentials"}, auth=("municipal", "no")).status_code == 401
    assert post("/oauth/token", data={"grant_type": "client_credentials"}, auth=("x" * 999, "no")).status_code == 401
    basic = {"Authorization": "Basic nonsense!"}
    assert post("/oauth/token", data={"grant_type": "client_credentials"}, headers=basic).status_code in (400, 401)


# -- pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["1000", "201", "9" * 30])
def test_a_limit_over_200_is_clamped(resident: Person, limit: str) -> None:
    page = resident.read(f"/v1/sites?limit={limit}")
    assert (len(page["items"]), page["next"] is None) == (200, False)


@pytest.mark.parametrize("limit", ["0", "-1", "few", "1.5", "", "NaN"])
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/sites", "/v1/service-items"])
def test_a_limit_that_is_none_is_refused(resident: Person, path: str, limit: str) -> None:
    assert paths(resident.get(path, params={"limit": limit})) == ["limit"]


@pytest.mark.parametrize(
    "cursor",
    ["nonsense!", "%%%", "////", "\u0000", "-1", "💥", "x" * 301, "e30", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"],
)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/sites", "/v1/service-items", "/v1/orders/{}/timeline"])
def test_a_bad_cursor_never_breaks_a_page(resident: Person, steps: Steps, path: str, cursor: str) -> None:
    order = steps.place() if "{}" in path else {"id": ""}
    response = resident.get(path.format(order["id"]), params={"cursor": cursor})
    assert response.status_code in (200, 422), response.text
    if response.status_code == 422:
        assert paths(response) == ["cursor"]


def test_what_is_no_base64_is_no_cursor(system: System) -> None:
    for path in ("/v1/orders", "/v1/sites", "/v1/volunteers/vol-leader1/hours", "/v1/accounts/vol-leader1/entries"):
        assert paths(system.person("admin").get(path, params={"cursor": "nonsense!"})) == ["cursor"]


def test_the_pages_of_a_list_hold_everything_once(resident: Person) -> None:
    ids, cursor = [], ""
    while cursor is not None:
        page = resident.read(f"/v1/service-items?limit=4{cursor and f'&cursor={cursor}'}")
        assert len(page["items"]) <= 4
        ids += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(ids) == len(set(ids)) == len(resident.read("/v1/service-items?limit=200")["items"])


@pytest.mark.parametrize(
    "query", ["state=nothing", "state[$ne]=x", "tier=%00", "site=$where", "holder=a.b", "state=" + "x" * 301]
)
def test_a_filter_that_fits_nothing_finds_nothing(resident: Person, query: str) -> None:
    response = resident.get(f"/v1/orders?{query}")
    assert response.status_code in (200, 422)
    if response.status_code == 200 and not query.startswith("state["):
        assert response.json()["items"] == []


# -- the same request twice ---------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_first_answer_again_and_one_order(resident: Person) -> None:
    key, before = str(uuid4()), _count(resident)
    answers = [resident.post("/v1/orders", WISH, key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert _count(resident) == before + 1


def test_the_first_answer_is_given_again_also_when_the_order_has_moved_on(system: System, steps: Steps) -> None:
    order, key, leader = steps.place(), str(uuid4()), system.person("leader1")
    path, body = f"/v1/orders/{order['id']}/accept", {"team": TEAMS["leader1"]}
    first = leader.post(path, body, key)
    steps.start(order)
    again = leader.post(path, body, key)
    assert (again.status_code, again.text) == (200, first.text)
    assert leader.post(path, body, str(uuid4())).status_code == 409
    assert steps.facts(order).count("accepted") == 1


def test_the_same_key_with_another_body_or_for_another_order_is_refused(
    system: System, resident: Person, steps: Steps
) -> None:
    key = str(uuid4())
    assert resident.post("/v1/orders", WISH, key).status_code == 201
    other = resident.post("/v1/orders", {**WISH, "urgent": True}, key)
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
    path = resident.post(f"/v1/orders/{steps.place()['id']}/cancel", {"reason": "x"}, key)
    assert (path.status_code, slug(path)) == (422, "idempotency-key-reused")


def test_the_same_key_of_two_people_are_two_keys(system: System) -> None:
    key = str(uuid4())
    ids = {system.person(name).post("/v1/orders", WISH, key).json()["id"] for name in ("resident", "resident2")}
    assert len(ids) == 2


def test_a_refusal_does_not_use_the_key_up(resident: Person) -> None:
    key = str(uuid4())
    assert resident.post("/v1/orders", {**WISH, "service_item": "unknown"}, key).status_code == 422
    assert resident.post("/v1/orders", WISH, key).status_code == 201


def test_the_same_key_many_times_at_once_makes_one_order(resident: Person) -> None:
    key, before = str(uuid4()), _count(resident)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: resident.post("/v1/orders", WISH, key), range(12)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert _count(resident) == before + 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_empty_or_too_long_is_refused(resident: Person, key: str) -> None:
    response = resident.request("POST", "/v1/orders", json=WISH, headers={"Idempotency-Key": key})
    assert paths(response) == ["Idempotency-Key"]


def _count(person: Person) -> int:
    count, cursor = 0, ""
    while cursor is not None:
        page = person.read(f"/v1/orders?limit=200{cursor and f'&cursor={cursor}'}")
        count, cursor = count + len(page["items"]), page["next"]
    return count


# -- anything at all ----------------------------------------------------------------------------------

ODD = (
    None, True, 0, -1, 1.5, 2**63, 10**40, -(2**64), "", " ", "\u0000", "\ud800", "$where", "a.b", "x" * 5000, "💥", "‮",
    "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1308021032029", [], {}, [[]],
    {"$ne": None}, {"$where": "1"}, {"a.b": 1}, {"": ""}, [{"$gt": ""}], ["x"] * 300, float("nan"), float("inf"),
)  # fmt: skip


def _fuzzed(dice: random.Random, template: Any) -> Any:
    """The template with some parts replaced, removed, added or nested."""
    if dice.random() < 0.25:
        return dice.choice(ODD)
    if isinstance(template, dict):
        kept = {key: _fuzzed(dice, value) for key, value in template.items() if dice.random() < 0.85}
        if dice.random() < 0.2:
            kept[dice.choice(["$set", "a.b", "", "__class__", "\u0000", "\ud800", "x" * 1000])] = dice.choice(ODD)
        return kept
    if isinstance(template, list):
        return [_fuzzed(dice, part) for part in template for _ in range(dice.randrange(3))]
    return template


def test_no_random_body_ever_breaks_the_system(system: System, steps: Steps) -> None:
    dice = random.Random(20260301)
    order = steps.reach("in_service")
    fresh = steps.place()
    preferred = {"from": "2030-01-01T08:00:00+08:00", "to": "2030-01-01T09:00:00+08:00"}
    volunteer = {"name": "周", "id_number": "130803196606152041", "phone": "13912345678", "categories": ["社区服务"]}
    targets: list[tuple[str, str, Any]] = [
        ("resident", "/v1/orders", {**WISH, "site": "130802103202", "address": "东街", "preferred": preferred}),
        ("station", "/v1/orders", {**WISH, "on_behalf_of": "resident2", "urgent": True, "preferred": preferred}),
        ("leader1", f"/v1/orders/{fresh['id']}/accept", {"team": TEAMS["leader1"], "volunteers": ["vol-leader1"]}),
        ("leader2", f"/v1/orders/{fresh['id']}/decline", {"team": TEAMS["leader2"], "reason": "忙"}),
        ("station", f"/v1/orders/{fresh['id']}/offer", {"teams": [TEAMS["leader1"], "x"]}),
        ("leader1", f"/v1/orders/{order['id']}/complete", {
            "records": [system.segment("vol-leader1", 1)], "summary": "完", "evidence": ["https://example.org/1.jpg"],
        }),
        ("resident", f"/v1/orders/{order['id']}/rate", {"score": 5, "comment": "好"}),
        ("resident2", "/v1/volunteers", volunteer),
        ("station", "/v1/hours/h-none-0/reverse", {"reason": "错"}),
    ]  # fmt: skip
    broken = []
    for number in range(FUZZED):
        name, path, template = targets[number % len(targets)]
        content = json.dumps(_fuzzed(dice, template))
        key = {"Idempotency-Key": dice.choice(["a", "b", "$ne"])}
        response = send(system.person(name), content, path, **(key if dice.random() < 0.2 else {}))
        if response.status_code >= 500:
            broken.append((path, content[:300], response.status_code))
    assert not broken, broken


@pytest.mark.parametrize(
    "header", ["traceparent", "x-correlation-id", "content-type", "accept", "cookie", "x-forwarded-for"]
)
def test_odd_headers_break_nothing(resident: Person, header: str) -> None:
    for value in ("", "x" * 2000, "00-00-00-00", "-" * 55, "é"):
        response = resident.request("POST", "/v1/orders", headers={header: value.encode("latin-1")}, json=WISH)
        assert response.status_code < 500, (value, response.text)
