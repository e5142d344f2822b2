"""What nobody is told: the words of an unexpected error, who serves, other origins; and what only a demo knows."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from deploy.reference.rpc import Away, Refused
from tests.e2e.steps import VILLAGE, WISH, Steps, ask_registry
from tests.support import buggy_gateway
from tests.support.processes import eventually
from tests.support.servers import virtual_host
from tests.support.system import System, sign_in

CANARY = "金丝雀王大娘住在槐树胡同三号"
SAFE = {
    "cache-control": "no-store",
    "content-security-policy": "frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def _is_told(*texts: str) -> bool:
    """As it is, or as JSON, Python or a URL writes it."""
    ways = (CANARY, json.dumps(CANARY).strip('"'), ascii(CANARY).strip("'"), quote(CANARY))
    return any(way in text for way in ways for text in texts)


def _reveals_nothing(response: httpx.Response) -> None:
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] in ("系统内部错误", "系统内部错误，请稍后再试")
    assert not _is_told(response.text, str(response.headers))
    assert not [word for word in ("Traceback", "Error", ".py", "pydantic", "Mongo") if word in response.text]


# -- errors that nobody expected ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", [{"urgent": CANARY}, {"offers": [{"team": {CANARY: 1}}]}, {"address": f"enc2:{CANARY}"}]
)
def test_an_error_in_a_service_is_logged_with_its_place_and_without_its_words(
    system: System, steps: Steps, damage: dict[str, Any]
) -> None:
    """A document that no version of the program has written."""
    order = steps.place()
    id = f"bug-{next(iter(damage))}"
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        orders = client[f"{system.prefix}dispatch"]["orders"]
        whole = orders.find_one({"_id": order["id"]})
        assert whole is not None
        orders.update_one({"_id": order["id"]}, {"$set": damage})
        for method, path, body in (("GET", "", None), ("POST", "/cancel", {"reason": "x"})):
            response = system.person("admin").request(
                method, f"/v1/orders/{order['id']}{path}", json=body, headers={"X-Correlation-Id": id}
            )
            _reveals_nothing(response)
        orders.replace_one({"_id": order["id"]}, whole)
    (line, _) = eventually(lambda: [one for one in _lines(system, "dispatch") if one.get("correlation_id") == id])
    assert (line["event"], line["level"]) == ("handler failed", "error")
    assert line["error"] in line["exception"] and "repository.py" in line["exception"]
    assert not _is_told(*(system.log(name) for name in system.processes))


def test_an_error_in_the_gateway_is_logged_with_its_place_and_without_its_words(system: System) -> None:
    with system.gateway("tests.support.buggy_gateway") as http:
        response = http.get(buggy_gateway.BUG, params={"told": CANARY}, headers={"X-Canary": quote(CANARY)})
        _reveals_nothing(response)
        assert SAFE.items() <= response.headers.items()
        file = system.folder / f"gateway-{http.base_url.port}.log"
        log = eventually(lambda: "RuntimeError" in (written := file.read_text()) and written, what="it is logged")
    assert "buggy_gateway.py" in log and "ValueError" in log
    assert not _is_told(log)


def _lines(system: System, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in system.log(name).splitlines() if line.startswith("{")]


# -- what an answer says beside its content -----------------------------------------------------------


def test_every_answer_is_kept_by_nobody_framed_by_nobody_and_names_no_server(system: System) -> None:
    resident = system.person("resident")
    answers = [
        resident.get("/v1/me"), resident.post("/v1/orders", WISH), resident.post("/v1/orders", {}),
        resident.get("/v1/nothing"), resident.request("DELETE", "/v1/me"), system.http.get("/v1/me"),
        sign_in(system.http, "resident"), sign_in(system.http, "resident", "wrong"), system.http.get("/docs"),
        system.http.get("/healthz"), system.http.get("/static/swagger/swagger-ui.css"),
        resident.request("POST", "/v1/orders", content=b"x" * 1_000_001),
    ]  # fmt: skip
    for answer in answers:
        assert SAFE.items() <= answer.headers.items(), answer.request.url
        assert not {"server", "x-powered-by", "x-process-time", "via"} & set(answer.headers)
        assert len(answer.headers.get_list("cache-control")) == 1


def test_no_page_of_another_origin_may_read_an_answer(system: System) -> None:
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    resident = system.person("resident")
    asked = [system.http.options(path, headers=origin) for path in ("/v1/orders", "/oauth/token", "/v1/me")]
    answers = [*asked, resident.get("/v1/me", headers=origin), resident.request("POST", "/v1/orders", headers=origin)]
    assert {answer.status_code for answer in asked} == {405}
    assert not [header for answer in answers for header in answer.headers if header.startswith("access-control-")]


def test_an_answer_says_who_may_ask_again_by_no_cookie(system: System) -> None:
    assert not [r for r in (sign_in(system.http, "resident"), system.http.get("/docs")) if "set-cookie" in r.headers]


# -- what is known to everybody from the demo ---------------------------------------------------------


PASSWORD = "blue-heron-51"
SECRETS = ("SIDAN_DATA_KEY", "SIDAN_TOKEN_SECRET", "MONGO_URI", "AMQP_URI")


@pytest.fixture(scope="module")
def in_production(
    system: System, rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Registry and gateway under the production profile, with their secrets in files, and a demo that somebody
    has loaded by mistake."""
    with virtual_host(rabbitmq) as amqp_uri:
        folder = tmp_path_factory.mktemp("production")
        settings = {"SIDAN_PROFILE": "production", "SIDAN_SECRETS_DIR": str(folder), "SIDAN_DATA_KEY": system.data_key}
        production = System(amqp_uri, mongodb.uri, f"p{system.prefix}", folder, **settings)
        production.processes = {name: production.processes[name] for name in ("registry", "gateway")}
        for name in SECRETS:
            values = {process.env.pop(name) for process in production.processes.values()}
            (folder / name.lower()).write_text(f"{values.pop()}\n")
        _copy(system, production, "accounts", "sites", "keys")
        try:
            production.processes["registry"].start()
            eventually(lambda: _add_in_time(production), what=f"the registry answers, see {folder}")
            production.processes["gateway"].start()
            eventually(lambda: _answers(production), what=f"signing in, see {folder}")
            yield production
        finally:
            production.stop()


def _add_in_time(system: System) -> bool:
    try:
        _add(system, "clerk", PASSWORD)
    except Away:
        return False
    return True


def _copy(source: System, target: System, *collections: str) -> None:
    with MongoClient[dict[str, Any]](source.mongo_uri) as client:
        for name in collections:
            documents = list(client[f"{source.prefix}registry"][name].find())
            client[f"{target.prefix}registry"][name].insert_many(documents)


def _answers(system: System) -> bool:
    try:
        return sign_in(system.http, "nobody").status_code == 401
    except httpx.HTTPError:
        return False


def _add(system: System, id: str, password: str) -> None:
    account = {"id": id, "username": id, "password": password, "name": "文员", "roles": ["staff"], "site": VILLAGE}
    ask_registry(system, "add_account", account)


def test_the_passwords_of_the_demo_are_good_in_the_local_profile_only(system: System, in_production: System) -> None:
    names = ("resident", "admin", "municipal")
    assert [sign_in(system.http, name).status_code for name in names] == [200] * 3
    assert [sign_in(in_production.http, name).status_code for name in names] == [401] * 3
    with pytest.raises(Refused, match="演示密码"):
        _add(in_production, "clerk", "demo")


def test_secrets_come_from_files_too(system: System, in_production: System) -> None:
    """With another one of which a token of this system is a forgery."""
    token = sign_in(in_production.http, "clerk", PASSWORD).raise_for_status().json()["access_token"]
    me = in_production.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert (me.status_code, me.json()["name"]) == (200, "文员")
    assert in_production.http.get("/v1/me", headers=system.person("admin").headers).status_code == 401
    environments = [process.env for process in in_production.processes.values()]
    assert not [name for name in SECRETS for environment in environments if name in environment]
