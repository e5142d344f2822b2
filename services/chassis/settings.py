"""Settings of a process, from the environment, read once."""

import json
import os
from functools import cache
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from services.contracts.privacy import KEY_BYTES, random_key


class Settings(BaseSettings):
    """Fails at start with the name of the variable that is missing or wrong.

    Each may also be a file of its name in ``SIDAN_SECRETS_DIR``, as orchestrators mount secrets.
    """

    model_config = SettingsConfigDict(env_prefix="SIDAN_", extra="ignore", hide_input_in_errors=True)

    amqp_uri: str = Field(validation_alias="AMQP_URI", pattern="^amqps?://.")
    """With ``;`` between the addresses of several nodes."""
    mongo_uri: str = Field(validation_alias="MONGO_URI")
    data_key: SecretStr
    """URL-safe base64 of 32 bytes; personal data is encrypted with it."""
    database_prefix: str = "sidan_"
    profile: str = "production"
    sla_profile: str = Field(default="standard", pattern="^(standard|demo)$")
    replica: int = 1
    metrics_port: int = 0
    """0: no metrics page."""
    max_workers: int = 16
    log_level: str = "INFO"
    drain_seconds: float = 8.0
    rating_silence_seconds: float = 7 * 24 * 3600
    """A silent resident's default rating comes after this."""
    retry_delays: Annotated[tuple[PositiveFloat, ...], NoDecode] = Field(default=(1, 10, 60), min_length=1)
    """A list as JSON: seconds between the attempts of a failing handler, one level each."""
    sms_url: str | None = Field(default=None, pattern="^https?://.")
    """Where short messages are posted; without it there are none, and people read in the app only."""
    sms_secret: SecretStr | None = Field(default=None, validate_default=True)
    """URL-safe base64 of at least 32 bytes, which signs what is posted."""
    heartbeat: int = Field(default=10, ge=1)
    """Seconds; a link to the broker that is silent for twice as long is taken for dead."""

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _is_a_list(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("must be seconds as a JSON list, as [1, 10, 60]") from None

    @field_validator("mongo_uri")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            parse_uri(value)
        except PyMongoError:
            raise ValueError("must be the address of a replica set, as mongodb://HOST:27017/?replicaSet=NAME") from None
        return value

    @field_validator("data_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        if len(random_key(value.get_secret_value())) != KEY_BYTES:
            raise ValueError(f"must be the URL-safe base64 of {KEY_BYTES} bytes")
        return value

    @field_validator("sms_secret")
    @classmethod
    def _signs_what_is_posted(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if value is not None:
            random_key(value.get_secret_value())
        elif others.data.get("sms_url"):
            raise ValueError("must be there where SIDAN_SMS_URL is")
        return value

    def database(self, service: str) -> str:
        return self.database_prefix + service


@cache
def settings() -> Settings:
    return Settings(_secrets_dir=os.environ.get("SIDAN_SECRETS_DIR"))  # the environment gives the required ones
