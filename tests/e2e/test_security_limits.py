"""Who asks too often waits; what is too much is refused, the less urgent first; what is away is not asked again."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.steps import WISH, Steps
from tests.support.processes import eventually
from tests.support.system import System

REFUSED = "sidan_requests_refused_total"
SLOW_ANSWER = 20.0
"""Seconds; a silent service is given up before 5, and a busy machine takes its time to say so."""
PLACES = 20
"""Of the gateway that is filled up: 16 for reads, 19 for commands, all for urgent orders."""
RANKS = ("notifications", "boards", "reads", "commands")
WARNING = "请求过于频繁，请在 "


@pytest.fixture(scope="module")
def metered(system: System) -> Iterator[httpx.Client]:
    """A gateway with low limits, behind a proxy that these tests play: each comes from an address of its own."""
    limits = {"rate_address": 10, "rate_account": 5, "rate_scarce": 3, "guesses_name": 3, "guesses_address": 8}
    settings = {f"SIDAN_{name.upper()}": str(limit) for name, limit in limits.items()}
    with system.gateway(SIDAN_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8", **settings) as http:
        yield http


@pytest.fixture(scope="module")
def crowded(system: System) -> Iterator[httpx.Client]:
    """A gateway with few places and little patience, which nobody stands before."""
    with system.gateway(SIDAN_MAX_IN_FLIGHT=str(PLACES), SIDAN_BODY_SECONDS="1", SIDAN_RATE_ADDRESS="30") as http:
        yield http


def from_(address: str, headers: dict[str, str] | None = None) -> dict[str, str]:
    return {"X-Forwarded-For": address, **(headers or {})}


def wait_of(response: httpx.Response) -> int:
    """The seconds that a ``429`` asks for."""
    assert response.status_code == 429, response.text
    problem, seconds = response.json(), int(response.headers["retry-after"])
    assert response.headers["content-type"] == "application/problem+json"
    assert (problem["type"].rpartition("/")[2], problem["retry_after"]) == ("too-many-requests", seconds)
    assert problem["detail"] == f"{WARNING}{seconds} 秒后再试"
    assert seconds > 0
    return seconds


def guess(http: httpx.Client, address: str, name: str, password: str) -> httpx.Response:
    form = {"grant_type": "password", "username": name, "password": password}
    return http.post("/oauth/token", data=form, headers=from_(address))


# -- too often ----------------------------------------------------------------------------------------


def test_an_account_that_asks_too_often_is_asked_to_wait_and_nobody_else(system: System, metered: httpx.Client) -> None:
    addresses = [f"192.0.2.{number}" for number in range(1, 5)]
    resident, station = system.person("resident").headers, system.person("station").headers

    def ask(number: int, headers: dict[str, str] = resident) -> httpx.Response:
        return metered.get("/v1/me", headers=from_(addresses[number % 4], headers))

    told = [ask(number).status_code for number in range(30)]
    assert told[:10] == [200] * 10, "twice a second's number at once"
    assert 429 in told, "wherever it comes from"
    assert wait_of(eventually(lambda: (answer := ask(0)).status_code == 429 and answer)) == 1
    assert ask(0, station).status_code == 200
    eventually(lambda: ask(0).status_code == 200, 2, "it may ask again")
    assert f'{REFUSED}{{reason="account"}}' in metered.get("/metrics").text


def test_what_makes_something_may_be_asked_less_often(system: System, metered: httpx.Client) -> None:
    headers = from_("192.0.2.10", system.person("resident2").headers)
    assert [metered.post("/v1/orders", json={}, headers=headers).status_code for _ in range(3)] == [422] * 3
    assert 1 < wait_of(metered.post("/v1/orders", json=WISH, headers=headers)) <= 20
    assert metered.post("/v1/volunteers", json={}, headers=headers).status_code == 422, "each route by itself"
    assert metered.get("/v1/orders", headers=headers).status_code == 200


def test_a_known_proxy_is_believed_as_far_as_it_reaches(metered: httpx.Client) -> None:
    def refused(*addresses: str) -> bool:
        return any(metered.get("/v1/nothing", headers=from_(a)).status_code == 429 for a in addresses)

    many = range(1, 91)
    assert not refused(*(f"203.0.113.{number}" for number in many)), "each for itself"
    assert refused(*(f"198.51.100.{number}, 192.0.2.20, 10.1.2.3" for number in many)), "the first is made up"
    assert refused(*(f"2001:db8::{number:x}" for number in many)), "a household is one"
    assert not refused(*(f"2001:db8:{number:x}::1" for number in many))


def test_passwords_are_not_guessed_whether_there_is_such_an_account_or_not(metered: httpx.Client) -> None:
    for address, name in (("192.0.2.30", "resident2"), ("192.0.2.31", "nobody-at-all")):
        assert [guess(metered, address, name, f"guess {n}").status_code for n in range(3)] == [401] * 3
    known, unknown = (guess(metered, "192.0.2.32", name, "demo") for name in ("resident2", "nobody-at-all"))
    assert 0 <= wait_of(unknown) - wait_of(known) <= 1
    assert known.json().keys() == unknown.json().keys(), "the right password is no way out, and tells nothing"
    rights = [guess(metered, "192.0.2.33", "station", "demo").status_code for _ in range(9)]
    assert rights == [200] * 9, "right ones do not count"


def test_a_password_that_nobody_could_look_at_was_no_guess(system: System, metered: httpx.Client) -> None:
    with ThreadPoolExecutor(3) as pool, system.paused("registry"):
        told = list(pool.map(lambda _: guess(metered, "192.0.2.34", "center", "demo").status_code, range(3)))
    assert told == [503] * 3, "all that may be tried"
    eventually(lambda: metered.get("/readyz").status_code == 200, what="the registry is back")
    assert [guess(metered, "192.0.2.34", "center", f"guess {n}").status_code for n in range(3)] == [401] * 3


def test_one_address_does_not_try_the_passwords_of_many(metered: httpx.Client) -> None:
    told = [guess(metered, "192.0.2.40", f"name-{number}", "123456").status_code for number in range(9)]
    assert told == [401] * 8 + [429]
    assert guess(metered, "192.0.2.41", "name-9", "123456").status_code == 401


# -- too much -----------------------------------------------------------------------------------------


def _timed(http: httpx.Client, method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
    began = time.monotonic()
    response = http.request(method, path, json=body, headers=headers)
    return response, time.monotonic() - began


def _is_shed(response: httpx.Response) -> bool:
    if response.status_code != 503 or response.json()["detail"] != "系统正忙，请稍后再试":
        return False
    assert (response.headers["content-type"], response.headers["retry-after"]) == ("application/problem+json", "2")
    return True


def test_when_too_much_is_under_way_reads_go_first_then_commands_and_urgent_orders_last(
    system: System, steps: Steps, crowded: httpx.Client
) -> None:
    """And the services that are away are not asked again by everybody."""
    order = steps.place()
    admin, resident, station = (system.person(name).headers for name in ("admin", "resident", "station"))
    path, account, http = f"/v1/orders/{order['id']}", "/v1/accounts/vol-leader1", crowded
    for headers in (admin, resident, station):
        assert http.get("/v1/me", headers=headers).status_code == 200
    with ThreadPoolExecutor(PLACES) as pool, system.paused("points", "activities"):
        silent: list[Future[Any]] = [pool.submit(_timed, http, "GET", account, admin) for _ in range(16)]
        _fill(http, 16)
        assert _is_shed(http.get(path, headers=resident))
        assert all(_is_shed(http.get(f"/v1/{later}", headers=resident)) for later in ("notifications", "boards"))
        assert http.post(f"{path}/cancel", json={"reason": "x"}, headers=resident).status_code == 200
        reverse = ("POST", "/v1/hours/h-none-0/reverse", station, {"reason": "x"})
        silent += [pool.submit(_timed, http, *reverse) for _ in range(3)]
        _fill(http, 19)
        assert _is_shed(http.post("/v1/orders", json=WISH, headers=resident))
        assert http.post("/v1/orders", json={**WISH, "urgent": True}, headers=resident).status_code == 201
        assert {http.get(page).status_code for page in ("/healthz", "/metrics", "/openapi.json")} == {200}
        shed = http.get("/metrics").text
        assert all(f'{REFUSED}{{reason="{rank}"}}' in shed for rank in RANKS)

        given_up = [future.result() for future in silent]
        assert {response.status_code for response, _ in given_up} == {503}
        assert max(seconds for _, seconds in given_up) < SLOW_ANSWER
        assert 'sidan_breaker_open{dependency="points"} 1.0' in http.get("/metrics").text
        again, _ = _timed(http, "GET", account, admin)
        assert (again.status_code, _is_shed(again)) == (503, False)
        assert http.get(path, headers=resident).status_code == 200, "and the others go on"
    eventually(lambda: http.get(account, headers=admin).status_code == 200, 20, "it is asked again")
    system.wait_ready()


def _fill(http: httpx.Client, count: int) -> None:
    eventually(lambda: f"sidan_requests_under_way {count}.0" in http.get("/metrics").text, 3, f"{count} under way")


def test_who_does_not_send_the_body_in_time_is_told_so_and_takes_nobodys_place(
    system: System, crowded: httpx.Client
) -> None:
    dawdlers = [socket.create_connection(("127.0.0.1", crowded.base_url.port or 0)) for _ in range(PLACES)]
    for one in dawdlers:
        one.sendall(b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert crowded.post("/v1/orders", json=WISH, headers=system.person("resident").headers).status_code == 201
    for one in dawdlers:
        with one:
            one.settimeout(5)
            answer = b"".join(iter(lambda one=one: one.recv(2000), b""))  # type: ignore[misc]
            assert answer.startswith(b"HTTP/1.1 408") and b"too-slow" in answer


def test_an_address_that_asks_too_often_waits_whatever_it_says_of_itself(crowded: httpx.Client) -> None:
    def ask(number: int) -> httpx.Response:
        return crowded.get("/v1/nothing", headers=from_(f"203.0.113.{number % 250}"))

    told = [ask(number) for number in range(300)]
    assert 404 in [answer.status_code for answer in told]
    wait_of(next(answer for answer in told if answer.status_code != 404))
    assert {crowded.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")} == {200}
    eventually(lambda: ask(0).status_code == 404, 5, "it may ask again")
