"""Settings of the gateway, from the environment."""

import base64
from functools import cache

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SIDAN_", extra="ignore", hide_input_in_errors=True)

    amqp_uri: str = Field(validation_alias="AMQP_URI", pattern="^amqps?://.")
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    token_secret: SecretStr
    """URL-safe base64 of at least 32 bytes; access tokens are signed with it."""
    token_seconds: int = 12 * 3600
    profile: str = "production"
    log_level: str = "INFO"

    @field_validator("token_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        if len(base64.urlsafe_b64decode(value.get_secret_value())) < 32:
            raise ValueError("must be the URL-safe base64 of at least 32 bytes")
        return value


@cache
def settings() -> Settings:
    return Settings()  # the environment gives the required ones
