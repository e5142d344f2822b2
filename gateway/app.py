"""The ASGI application, and the one table of errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from gateway import examples, health
from gateway.answers import problem_response
from gateway.files import Desk
from gateway.identity import Tokens
from gateway.limits import BodyLimit
from gateway.load import Shedding
from gateway.rates import AddressLimit, Rates
from gateway.routes import (
    cases,
    identity,
    imports,
    matching,
    notifications,
    orders,
    records,
    registry,
    series,
    support,
    teams,
    volunteers,
)
from gateway.rpc import RpcClient
from gateway.settings import settings
from gateway.standing import Standings
from services.contracts.errors import Forbidden, Malformed, MethodNotAllowed, NotFound, ServiceError
from services.contracts.wording import invalid_fields


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.tokens = Tokens()
    app.state.rates = Rates(settings())
    app.state.desk = Desk()
    app.state.rpc = RpcClient(settings().amqp_uri)
    app.state.standings = Standings(app.state.rpc)
    await app.state.rpc.start()
    yield
    await app.state.rpc.stop()


MODULES = (
    orders, cases, support, series, matching, teams, volunteers, registry, records, imports, notifications, identity,
    health,
)  # fmt: skip


class Interface(FastAPI):
    def openapi(self) -> dict[str, Any]:
        is_new = self.openapi_schema is None
        document = super().openapi()  # kept there
        if is_new:
            examples.add_to(document, [route for module in MODULES for route in module.router.routes])
        return document


def build() -> FastAPI:
    app = Interface(title="Sidan 四单", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    for middleware in (Shedding, BodyLimit, AddressLimit):  # the last one comes first
        app.add_middleware(middleware)
    for module in MODULES:
        app.include_router(module.router)
    app.add_exception_handler(ServiceError, on_service_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, on_invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, on_http_error)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, on_bug)
    _serve_docs(app)
    return app


async def on_service_error(_request: Request, error: ServiceError) -> Response:
    return problem_response(error.problem())


async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
    """`400` when the body is no JSON or does not say so, else `422` with the path of each field."""
    errors = error.errors()
    if any(e["type"] in ("json_invalid", "json_type") for e in errors):
        return problem_response(Malformed("请求内容不是有效的 JSON").problem())
    if any(isinstance(e.get("input"), bytes) for e in errors):  # a body that does not say that it is JSON
        return problem_response(Malformed("请求内容要用 JSON，并注明 Content-Type: application/json").problem())
    return problem_response(invalid_fields(errors, skip=1).problem())


async def on_http_error(_request: Request, error: HTTPException) -> Response:
    known: dict[int, type[ServiceError]] = {400: Malformed, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed}
    found = known.get(error.status_code, ServiceError)()
    response = problem_response({**found.problem(), "status": error.status_code})
    response.headers.update(error.headers or {})
    return response


async def on_bug(_request: Request, _error: Exception) -> Response:
    """Nothing of the error is told: it might hold personal data. It is in the log."""
    return problem_response(ServiceError("系统内部错误，请稍后再试").problem())


def _serve_docs(app: FastAPI) -> None:
    app.mount("/static/swagger", StaticFiles(packages=[("fastapi_offline", "static")]), name="swagger")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Sidan 四单",
            swagger_js_url="/static/swagger/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger/swagger-ui.css",
            swagger_favicon_url="/static/swagger/favicon.png",
        )
