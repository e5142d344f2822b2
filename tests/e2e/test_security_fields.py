"""What a client may say: of every request the documented fields and no others, each with what belongs there.

Requests and fields are read from the OpenAPI document and from the databases, so that a new one is tried too.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from tests.e2e.steps import TEAMS, WISH, Steps
from tests.support.snapshots import unchanged
from tests.support.system import Person, System, sign_in

INTERNAL = {
    "id", "_id", "state", "status", "version", "role", "roles", "site", "tier", "holder", "points", "balance", "hours",
    "star", "accepted_by", "placed_by", "resident_id", "due_at", "cycle", "password_hash", "is_admin", "actor",
    "idempotency", "command", "outbox", "outbox_since", "order_id", "volunteer_id", "__proto__", "__class__",
}  # fmt: skip
DEEP = 400
"""Levels; what is deeper is refused as no JSON."""
OPERATORS = ({"$ne": None}, {"$gt": ""}, {"$where": "sleep(1000)"}, [{"$regex": ".*"}], {"a.b": 1}, {"a\u0000b": 1})
PATIENCE = 3.0
"""Seconds; a backtracking pattern would take hours."""
HOSTILE = (
    "1" * 5000, "a" * 5000 + "!", "1 " * 2500, "-" * 5000, "86" * 2500, "13" * 2500, "０" * 5000, "\t" * 5000,
    "x" * 5000 + "\n", ("1" * 17 + " ") * 270, "(a+)+$" * 800, "=" * 5000,
)  # fmt: skip

Schema = dict[str, Any]


def _api(system: System) -> Schema:
    found: Schema = system.http.get("/openapi.json").json()
    return found


def _resolved(api: Schema, schema: Schema) -> Schema:
    """The object that a schema stands for, past references and the choice of null."""
    for part in schema.get("anyOf", []):
        if part.get("type") != "null":
            return _resolved(api, part)
    if "items" in schema:
        return _resolved(api, schema["items"])
    if "$ref" in schema:
        return _resolved(api, api["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return schema


def _requests(api: Schema) -> Iterator[tuple[str, Schema]]:
    """The path of each request with a JSON body, and its schema."""
    for path, methods in api["paths"].items():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield re.sub(r"{\w+}", "none", path), _resolved(api, content["application/json"]["schema"])


def _places(api: Schema, schema: Schema, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Every object of a request: itself, and those inside."""
    yield way, schema
    for name, part in schema.get("properties", {}).items():
        inner = _resolved(api, part)
        if "properties" in inner:
            yield from _places(api, inner, (*way, name))


def _put(api: Schema, schema: Schema, way: tuple[str, ...], content: Any) -> Any:
    """A body that has ``content`` in this place, in a list where one is expected."""
    if not way:
        return content
    inner = schema["properties"][way[0]]
    body = _put(api, _resolved(api, inner), way[1:], content)
    return {way[0]: [body] if _is_list(inner) else body}


def _is_list(schema: Schema) -> bool:
    return schema.get("type") == "array" or any(part.get("type") == "array" for part in schema.get("anyOf", []))


def _stored(system: System) -> set[str]:
    """The names of all fields of all documents of all services."""
    names: set[str] = set()
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        for database in client.list_database_names():
            if database.startswith(system.prefix):
                for collection in client[database].list_collection_names():
                    for document in client[database][collection].find().sort("_id", -1).limit(20):
                        names |= set(_names(document))
    return names


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _names(part)


def _answered(system: System, steps: Steps) -> set[str]:
    """The names of all fields that any answer has."""
    order = steps.reach("closed")
    steps.settled(order, "vol-leader1")
    admin, volunteer = system.person("admin"), "vol-leader1"
    paths = (
        f"/v1/orders/{order['id']}", f"/v1/orders/{order['id']}/timeline", f"/v1/volunteers/{volunteer}",
        f"/v1/volunteers/{volunteer}/hours", f"/v1/accounts/{volunteer}", f"/v1/accounts/{volunteer}/entries",
        f"/v1/sites/{order['site']}", "/v1/service-items", "/v1/me",
    )  # fmt: skip
    return {name for path in paths for name in _names(admin.read(path))}


def _wrong_fields(response: httpx.Response) -> set[str]:
    assert response.status_code == 422, response.text
    return {field["path"] for field in response.json()["fields"]}


@pytest.fixture(scope="module")
def anybody(system: System) -> Person:
    return system.person("admin")


def test_no_request_takes_a_field_that_is_not_its_own(system: System, steps: Steps, anybody: Person) -> None:
    """Whatever is stored or answered anywhere: state, points, roles, whose it is."""
    api, known = _api(system), INTERNAL | _stored(system) | _answered(system, steps)
    assert {"password_hash", "possible", "balance", "offers"} <= known and len(known) > 90
    tried, ignored = 0, []
    with unchanged(system):
        for path, schema in _requests(api):
            for way, place in _places(api, schema):
                extra = dict.fromkeys(known - set(place.get("properties", {})), "x")
                wrong = _wrong_fields(anybody.post(path, _put(api, schema, way, extra)))
                named = {field.rpartition(".")[2] if not field.startswith("$") else field for field in wrong}
                ignored += [(path, *way, name) for name in extra.keys() - named if "." not in name]
                tried += 1
    assert ignored == []
    assert tried >= 16, "14 commands with a body, and what is inside them"


def test_no_field_takes_an_operator_a_dot_or_a_depth(system: System, anybody: Person) -> None:
    api, taken = _api(system), []
    deep: Any = "x"
    for _ in range(DEEP):
        deep = {"a": deep}
    with unchanged(system):
        for path, schema in _requests(api):
            for way, place in _places(api, schema):
                for name in place.get("properties", {}):
                    for content in (*OPERATORS, deep):
                        body = _put(api, schema, way, {name: content})
                        response = anybody.post(path, body)
                        if response.status_code not in (400, 422):
                            taken.append((path, *way, name, str(content)[:20], response.status_code))
    assert taken == []


def test_a_parameter_is_one_text_whatever_is_made_of_it(system: System, anybody: Person) -> None:
    """Operators are text that fits nothing; said twice, one of them counts."""
    for path, parameters in (("/v1/orders", ("state", "tier", "site", "holder")), ("/v1/sites", ("parent", "tier"))):
        for name in parameters:
            for query in (f"{name}[$ne]=x", f"{name}[]=x", f"{name}=%7B%22$ne%22:null%7D", f"{name}=x&{name}=y"):
                response = anybody.get(f"{path}?{query}")
                assert response.status_code in (200, 422), (query, response.text)
                if response.status_code == 200 and "[" not in query:
                    assert response.json()["items"] == []


def test_a_token_request_gives_nobody_another_role(system: System) -> None:
    extra = {"roles": "admin", "role": "admin", "sub": "admin", "site": "1308", "scope": "admin", "stamp": "x"}
    form = {"grant_type": "password", "username": "resident", "password": "demo", **extra}
    token = system.http.post("/oauth/token", data=form).raise_for_status().json()["access_token"]
    me = system.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()
    assert (me["id"], me["roles"], me["site"]) == (
        "resident",
        ["resident"],
        system.person("resident").read("/v1/me")["site"],
    )


def test_no_text_makes_a_pattern_run_for_ever(system: System, anybody: Person) -> None:
    slow = []

    def timed(what: str, method: str, path: str, **arguments: Any) -> None:
        began = time.monotonic()
        status = anybody.request(method, path, **arguments).status_code
        if (took := time.monotonic() - began) > PATIENCE or status >= 500:
            slow.append((what, status, round(took, 2)))

    volunteer = {"name": "周", "id_number": "x", "phone": "x"}
    for text in HOSTILE:
        for length in (30, 40, 100, 300, 5000):
            part = text[:length]
            timed("volunteer", "POST", "/v1/volunteers", json=dict.fromkeys(volunteer, part))
        order = {
            **WISH,
            "service_item": text,
            "site": text,
            "on_behalf_of": text,
            "description": text[:2000],
            "address": text,
        }
        timed("order", "POST", "/v1/orders", json=order)
        record = {"volunteer": text, "from": text, "to": text}
        evidence = ["https://" + text]
        body = {"records": [record], "summary": text[:2000], "evidence": evidence}
        timed("complete", "POST", "/v1/orders/none/complete", json=body)
        timed("query", "GET", "/v1/orders", params={"state": text[:300], "cursor": text[:300]})
        visible = "".join(c for c in text if c.isascii() and c.isprintable())[:3000].strip()
        timed("headers", "GET", "/v1/me", headers={"traceparent": visible, "X-Correlation-Id": visible[:63].strip()})
    for name in HOSTILE:
        began = time.monotonic()
        sign_in(system.http, name[:200], name[:200])
        slow += [("sign in", 0, 0)] if time.monotonic() - began > PATIENCE else []
    assert slow == []


def test_json_that_says_a_thing_twice_or_hides_it_changes_nobodys_rights(system: System, steps: Steps) -> None:
    """The last one counts, for who decides as for who carries it out: there is one reader only."""
    order = steps.place()
    path = f"/v1/orders/{order['id']}/accept"
    content = json.dumps({"team": TEAMS["leader1"]})[:-1] + f', "team": "{TEAMS["leader3"]}"}}'
    with unchanged(system):
        headers = {"Content-Type": "application/json"}
        assert system.person("leader1").request("POST", path, content=content, headers=headers).status_code == 403
