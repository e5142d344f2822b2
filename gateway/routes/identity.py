"""Tokens for people and systems (RFC 6749: grants ``password`` and ``client_credentials``)."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import ValidationError

from gateway.answers import json_response
from gateway.calls import trace_of
from gateway.rates import Rates, address_of
from gateway.rpc import Problem
from gateway.settings import settings
from services.contracts.actor import SYSTEM
from services.contracts.errors import ServiceError, Unauthenticated
from services.contracts.registry import Authenticate

router = APIRouter(tags=["identity"])
Field = Annotated[str, Form(max_length=200)]


@router.post("/oauth/token")
async def token(
    request: Request, grant_type: Field = "", username: Field = "", password: Field = "",
    client_id: Field = "", client_secret: Field = "",
) -> Response:  # fmt: skip
    """An access token for an account (`password`) or a system (`client_credentials`)."""
    if grant_type == "password":
        command = {"username": username, "password": password, "kind": "person"}
    elif grant_type == "client_credentials":
        id, secret = client(request, client_id, client_secret)
        command = {"username": id, "password": secret, "kind": "client"}
    else:
        return _refused(400, "unsupported_grant_type", "grant_type 应为 password 或 client_credentials")
    if not command["username"] or not command["password"]:
        return _refused(400, "invalid_request", "请填写账号和密码")
    rates: Rates = request.app.state.rates
    who = f"{command['kind']} {command['username']}", address_of(request.scope)
    rates.guess(*who)
    try:
        account = await _authenticate(request, command)
    except PermissionError:
        return _refused(401, "invalid_grant", "账号或密码不正确")
    except ServiceError:  # nobody has looked at the password
        rates.take_back(*who)
        raise
    rates.take_back(*who)
    answer = {
        "access_token": request.app.state.tokens.issue(account),
        "token_type": "Bearer",
        "expires_in": settings().token_seconds,
    }
    return json_response(answer)


async def _authenticate(request: Request, command: dict[str, str]) -> dict[str, Any]:
    actor = SYSTEM.model_dump(mode="json")
    try:
        asked = Authenticate(**command).model_dump(mode="json")
        answer = await request.app.state.rpc.call(
            "registry.authenticate", {"actor": actor, "command": asked}, trace_of(request)
        )
    except ValidationError:  # nobody can have such a name
        raise PermissionError from None
    except Problem as problem:
        if problem.problem().get("status") == Unauthenticated.status:
            raise PermissionError from None
        raise
    return dict(answer)


def client(request: Request, id: str, secret: str) -> tuple[str, str]:
    """Credentials from the form, or from HTTP Basic as RFC 6749 prefers."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return id, secret
    try:
        basic_id, _, basic_secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return basic_id, basic_secret


def _refused(status: int, error: str, description: str) -> Response:
    problem = {"type": "about:blank", "title": "登录失败", "status": status, "detail": description}
    content = {"error": error, "error_description": description, **problem}
    response = json_response(content, status)
    response.headers["content-type"] = "application/problem+json"
    return response
