"""Is it alive, is it ready, what does it measure, what events are there."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.answers import json_response
from gateway.asyncapi import document
from gateway.rpc import RpcClient
from services.chassis.telemetry import Trace
from services.contracts.actor import SYSTEM
from services.contracts.errors import ServiceError

router = APIRouter(tags=["operation"], include_in_schema=False)
SERVICES = ("registry", "dispatch", "activities", "points")
PROBE_SECONDS = 2.0
REPLICATED = ("sites", "teams", "items", "residents")


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return json_response({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """`200` only when every service answers and the city and its accounts are in, also in dispatch.

    `reference_data` is null while nobody can say: a service or the database is away.
    """
    rpc: RpcClient = request.app.state.rpc
    checks = await asyncio.gather(*(_answers(rpc, service) for service in SERVICES), return_exceptions=True)
    answers = {s: not isinstance(c, BaseException) for s, c in zip(SERVICES, checks, strict=True)}
    loaded = await _loaded(rpc) if all(answers.values()) else None
    ready = bool(loaded)
    return json_response({"ready": ready, "services": answers, "reference_data": loaded}, 200 if ready else 503)


@router.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/asyncapi.json")
async def asyncapi() -> Response:
    return json_response(document())


async def _answers(rpc: RpcClient, service: str) -> None:
    await rpc.call(f"{service}.health", {}, Trace(), PROBE_SECONDS)


async def _loaded(rpc: RpcClient) -> bool | None:
    """None: nobody can say now."""
    try:
        registry, dispatch = await asyncio.gather(_readiness(rpc, "registry"), _readiness(rpc, "dispatch"))
    except ServiceError:
        return None
    return bool(registry["loaded"]) and all(dispatch[name] >= registry[name] for name in REPLICATED)


async def _readiness(rpc: RpcClient, service: str) -> dict[str, Any]:
    arguments = {"actor": SYSTEM.model_dump(mode="json")}
    return dict(await rpc.call(f"{service}.readiness", arguments, Trace(), PROBE_SECONDS))
