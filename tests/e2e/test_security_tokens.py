"""Who is let in: tokens that are forged, foreign, expired or no longer true open nothing and change nothing."""

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.steps import VILLAGE, WISH, Steps, ask_registry
from tests.support.processes import eventually
from tests.support.snapshots import unchanged
from tests.support.system import System, sign_in

NOTICED = 0.2
"""Seconds until the gateway of these tests notices a change of an account."""
PASSWORD, NEW_PASSWORD = "blue-heron-51", "grey-heron-52"


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _part(content: Any) -> str:
    return _b64(json.dumps(content).encode())


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


def _signed(
    secret: bytes, claims: dict[str, Any], header: dict[str, Any] | None = None, digest: Any = hashlib.sha256
) -> str:
    """Claims that are ``...`` are left out."""
    kept = {name: value for name, value in claims.items() if value is not ...}
    signed = f"{_part(header or {'alg': 'HS256', 'typ': 'at+jwt'})}.{_part(kept)}"
    return f"{signed}.{_b64(hmac.new(secret, signed.encode(), digest).digest())}"


def _forged(system: System) -> dict[str, str | bytes | None]:
    """Authorization headers by what is wrong with them."""
    secret, now, good = system.token_secret, int(time.time()), system.person("admin").token
    header, payload, signature = good.split(".")
    claims = _claims(good)
    resident = _claims(system.person("resident").token)
    r_header, _, r_signature = system.person("resident").token.split(".")
    promoted = _part({**resident, "sub": "admin", "roles": ["admin"]})
    none = _part({"alg": "none", "typ": "at+jwt"})
    jwk = {"kty": "oct", "k": _b64(b"mine" * 8)}

    def token(header: dict[str, Any] | None = None, key: bytes = secret, **changes: Any) -> str:
        typed = None if header is None else {"typ": "at+jwt", **header}
        return "Bearer " + _signed(key, {**claims, **changes}, typed)

    return {
        "missing": None,
        "empty": "",
        "no scheme": good,
        "no token": "Bearer",
        "other scheme": f"Basic {good}",
        "nonsense": "Bearer nonsense",
        "two dots": "Bearer ..",
        "not ascii": "Bearer é.é.é".encode("latin-1"),
        "huge": "Bearer " + "x" * 10_000,
        "huge and signed": token(name="x" * 10_000),
        "expired": token(exp=now - 3600),
        "expired beyond the leeway": token(exp=now - 40),
        "not yet valid": token(nbf=now + 3600),
        "never expiring": token(exp=...),
        "expiring at no time": token(exp="never"),
        "other key": token(key=b"x" * 32),
        "empty key": token(key=b""),
        "other issuer": token(iss="elsewhere"),
        "other audience": token(aud="elsewhere"),
        "no issuer": token(iss=...),
        "no audience": token(aud=...),
        "nobody": token(sub=...),
        "unknown to the registry": token(sub="nobody-at-all"),
        "unknown role": token(roles=["emperor"]),
        "no roles": token(roles=...),
        "no stamp": token(stamp=...),
        "stamp of another": token(stamp=resident["stamp"]),
        "id token": token({"typ": "JWT", "alg": "HS256"}),
        "other algorithm": "Bearer " + _signed(secret, claims, {"alg": "HS512", "typ": "at+jwt"}, hashlib.sha512),
        "public key as secret": token({"alg": "RS256"}),
        "key of the header": token({"alg": "HS256", "jwk": jwk}, key=b"mine" * 8),
        "key from a file": token({"alg": "HS256", "kid": "../../../../dev/null"}, key=b""),
        "key from a query": token({"alg": "HS256", "kid": "x' UNION SELECT 'k"}, key=b"k"),
        "key from a place": token({"alg": "HS256", "jku": f"{system.address}/keys"}, key=b"mine" * 8),
        "key from a certificate": token({"alg": "HS256", "x5u": f"{system.address}/x", "x5c": ["M"]}, key=b"mine" * 8),
        "odd header": token({"alg": 5}),
        "critical": token({"alg": "HS256", "crit": ["x"]}),
        "alg none": f"Bearer {none}.{payload}.",
        "alg none in capitals": f"Bearer {_part({'alg': 'NONE', 'typ': 'at+jwt'})}.{payload}.",
        "alg none with a signature": f"Bearer {none}.{payload}.{signature}",
        "tampered payload": f"Bearer {r_header}.{promoted}.{r_signature}",
        "cut signature": f"Bearer {good[:-4]}",
        "no signature": f"Bearer {header}.{payload}.",
        "payload no json": f"Bearer {header}.{_b64(b'{')}.{signature}",
    }  # fmt: skip


def test_what_is_forged_below_is_good_before(system: System) -> None:
    """Which shows that the others are refused for what is forged about them."""
    claims = _claims(system.person("admin").token)
    good = {"Authorization": f"Bearer {_signed(system.token_secret, claims)}"}
    assert system.http.get("/v1/me", headers=good).json()["roles"] == ["admin"]


def test_a_forged_token_opens_nothing_and_changes_nothing(system: System, steps: Steps) -> None:
    order, forged, told = steps.place(), _forged(system), {}
    calls = (
        ("GET", "/v1/me", None),
        ("POST", "/v1/orders", WISH),
        ("POST", f"/v1/orders/{order['id']}/cancel", {"reason": "x"}),
    )
    with unchanged(system):
        for what, authorization in forged.items():
            headers: Any = {} if authorization is None else {"Authorization": authorization}
            answers = [system.http.request(method, path, json=body, headers=headers) for method, path, body in calls]
            assert all(a.headers["www-authenticate"] == "Bearer" for a in answers if a.status_code == 401)
            told[what] = {answer.status_code for answer in answers}
    assert {what: statuses for what, statuses in told.items() if statuses != {401}} == {}


def test_a_token_that_expires_during_a_long_upload_opens_nothing(system: System) -> None:
    """It is looked at when the body is there."""
    now = int(time.time())
    claims = {**_claims(system.person("resident").token), "exp": now - 28}  # within the leeway for 2 s
    token, body = _signed(system.token_secret, claims), json.dumps(WISH).encode()
    assert system.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with unchanged(system), socket.create_connection(("127.0.0.1", system.port)) as upload:
        upload.sendall(head.encode() + body[:5])
        eventually(lambda: time.time() > now + 3, what="it has expired")
        upload.sendall(body[5:])
        assert upload.recv(100).startswith(b"HTTP/1.1 401")


# -- what is no longer true ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attentive(system: System) -> Iterator[httpx.Client]:
    """A gateway that soon notices."""
    with system.gateway(SIDAN_STANDING_SECONDS=str(NOTICED)) as http:
        yield http


def _account(system: System, id: str, **changes: Any) -> None:
    """Made, or changed, as the reference data do it."""
    account = {
        "id": id,
        "username": id,
        "password": PASSWORD,
        "name": "临时工",
        "roles": ["staff"],
        "site": VILLAGE,
        **changes,
    }
    ask_registry(system, "add_account", account)


def _bearer(http: httpx.Client, username: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign_in(http, username, password).raise_for_status().json()['access_token']}"}


def test_a_role_that_was_taken_away_or_given_counts_though_the_token_is_older(
    system: System, attentive: httpx.Client, steps: Steps
) -> None:
    order = steps.place()
    _account(system, "passing-staff")
    headers, path = _bearer(attentive, "passing-staff"), f"/v1/orders/{order['id']}"
    assert attentive.get(path, headers=headers).status_code == 200
    _account(system, "passing-staff", roles=["resident"])
    eventually(lambda: attentive.get(path, headers=headers).status_code == 404, what="the role is gone")
    with unchanged(system):
        assert attentive.post(f"{path}/reject", json={"reason": "x"}, headers=headers).status_code == 404
    _account(system, "passing-staff", roles=["staff"], site="130802")
    eventually(lambda: attentive.get(path, headers=headers).status_code == 200, what="the new post counts")


@pytest.mark.parametrize("change", [{"active": False}, {"password": NEW_PASSWORD}], ids=["suspended", "other password"])
def test_the_tokens_of_a_suspended_account_or_an_old_password_are_refused(
    system: System, attentive: httpx.Client, change: dict[str, Any]
) -> None:
    id = f"passing-{next(iter(change))}"
    _account(system, id)
    headers = _bearer(attentive, id)
    assert attentive.get("/v1/me", headers=headers).status_code == 200
    _account(system, id, **change)
    eventually(lambda: attentive.get("/v1/me", headers=headers).status_code == 401, what="it is refused")
    with unchanged(system):
        assert attentive.post("/v1/orders", json=WISH, headers=headers).status_code == 401
        assert sign_in(attentive, id, PASSWORD).status_code == 401
    _account(system, id, active=True)
    assert _bearer(attentive, id)


def test_while_the_registry_is_silent_what_was_known_goes_on_to_hold(system: System, attentive: httpx.Client) -> None:
    headers, unknown_yet = system.person("station").headers, system.person("center").headers
    assert attentive.get("/v1/orders", headers=headers).status_code == 200
    with system.paused("registry"):
        began = time.monotonic()
        eventually(lambda: time.monotonic() > began + NOTICED, what="it is to be asked again")
        assert attentive.get("/v1/orders", headers=headers).status_code == 200
        assert attentive.get("/v1/orders", headers=unknown_yet).status_code == 200
