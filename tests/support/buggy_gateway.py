"""A gateway with a route that fails as no other does, with what must not be told in its error."""

import sys

from fastapi import FastAPI

from gateway import __main__, app

BUG = "/v1/bug"
build = app.build


def with_a_bug() -> FastAPI:
    application = build()

    @application.get(BUG)
    async def bug(told: str) -> None:
        raise RuntimeError(f"unexpected: {told}") from ValueError(told)

    return application


if __name__ == "__main__":
    app.build = with_a_bug
    sys.exit(__main__.main())
