"""Who asks: proven by the gateway, judged by the service that owns the data."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Role(StrEnum):
    RESIDENT = "resident"
    VOLUNTEER = "volunteer"
    STAFF = "staff"
    ADMIN = "admin"
    SYSTEM = "system"


class Actor(BaseModel):
    """``site`` is the home of a resident or volunteer and the post of staff."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str = ""
    roles: frozenset[Role] = frozenset()
    site: str = ""
    volunteer: str | None = None

    def has(self, role: Role) -> bool:
        return role in self.roles

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles


SYSTEM = Actor(id="system", name="系统", roles=frozenset({Role.SYSTEM}))
