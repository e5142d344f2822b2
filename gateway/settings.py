"""Settings of the gateway, from the environment."""

import os
from functools import cache
from ipaddress import ip_network
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contracts.privacy import random_key

RATES = {
    "rate_address": (100, 2000),
    "rate_account": (20, 500),
    "rate_scarce": (30, 3000),
    "guesses_name": (10, 60),
    "guesses_address": (60, 3000),
}
"""In production, and in the local profile, where one machine plays everybody."""


class Settings(BaseSettings):
    """Each may also be a file of its name in ``SIDAN_SECRETS_DIR``, as orchestrators mount secrets."""

    model_config = SettingsConfigDict(env_prefix="SIDAN_", extra="ignore", hide_input_in_errors=True)

    amqp_uri: str = Field(validation_alias="AMQP_URI", pattern="^amqps?://.")
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    token_secret: SecretStr
    """URL-safe base64 of at least 32 bytes; access tokens are signed with it."""
    token_seconds: int = 12 * 3600
    profile: str = "production"
    log_level: str = "INFO"
    standing_seconds: float = 30
    """How long a change of an account's roles, or its suspension, may go unnoticed."""
    body_seconds: float = Field(default=20, gt=0)
    """To send a request's body."""
    max_in_flight: int = Field(default=400, ge=1)
    """Requests under way at once; see ``gateway/load.py``."""
    trusted_proxies: str = ""
    """Addresses and networks, with commas, whose ``X-Forwarded-For`` is believed. Without it all clients behind a
    proxy are one address."""
    rate_address: float = Field(ge=0)
    """Requests a second, twice as many at once; 0 is no limit here and below. Defaults are in ``RATES``."""
    rate_account: float = Field(ge=0)
    """The same for one account."""
    rate_scarce: float = Field(ge=0)
    """Requests a minute of one account on a route that makes something."""
    guesses_name: float = Field(ge=0)
    """Wrong passwords a minute for one user name."""
    guesses_address: float = Field(ge=0)
    """Wrong passwords a minute from one address."""

    @model_validator(mode="before")
    @classmethod
    def _with_rates_of_profile(cls, given: dict[str, Any]) -> dict[str, Any]:
        local = given.get("profile") == "local"
        return {name: rates[local] for name, rates in RATES.items()} | given

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in filter(None, value.split(",")):
            ip_network(part.strip())
        return value

    @field_validator("token_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        random_key(value.get_secret_value())
        return value


@cache
def settings() -> Settings:
    return Settings(_secrets_dir=os.environ.get("SIDAN_SECRETS_DIR"))  # the environment gives the required ones
