"""JSON and problem documents (RFC 9457) as answers."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response

from services.contracts.errors import ServiceError

PROBLEM = "application/problem+json"


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def picture_response(jpeg: bytes) -> Response:
    return Response(jpeg, 200, {"Cache-Control": "private"}, "image/jpeg")


def page_response(page: str) -> Response:
    return Response(page, 200, {"Vary": "Accept"}, "text/html; charset=utf-8")


def problem_response(problem: dict[str, Any]) -> Response:
    response = json_response(problem, problem["status"])
    response.headers["content-type"] = PROBLEM
    if "retry_after" in problem:
        response.headers["retry-after"] = str(problem["retry_after"])
    if problem["status"] == 401:
        response.headers["www-authenticate"] = "Bearer"
    if problem["status"] == 408:
        response.headers["connection"] = "close"
    return response


async def refuse(error: ServiceError, scope: Any, receive: Any, send: Any) -> None:
    """The answer of a middleware instead of the application's."""
    await problem_response(error.problem())(scope, receive, send)
