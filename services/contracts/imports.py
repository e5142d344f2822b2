"""Files of rows that the registry takes in: staged, looked at, carried out, and taken back."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.chassis.messages import Command
from services.contracts.registry import OfferMode, Risk, SiteCode, TargetGroup, Tier

MOST_ROWS = 50_000
ROWS_AT_ONCE = 200
"""Of one batch: as many as are checked, and later carried out, without keeping others waiting."""
MOST_CELLS = 50
Cell = Annotated[str, StringConstraints(max_length=1000)]


class ImportKind(StrEnum):
    VOLUNTEERS = "volunteers"
    TEAMS = "teams"
    ITEMS = "items"
    SITES = "sites"


TIERS = {Tier.CITY: "市", Tier.CENTER: "中心", Tier.INSTITUTE: "所", Tier.STATION: "站"}
TARGET_GROUPS = {
    TargetGroup.ELDERLY: "老", TargetGroup.CHILDREN: "少", TargetGroup.DISABLED: "残", TargetGroup.HARDSHIP: "困",
    TargetGroup.IN_NEED: "需",
}  # fmt: skip
RISKS = {Risk.LOW: "低", Risk.HIGH: "高"}
OFFER_MODES = {OfferMode.FAN_OUT: "同时派单", OfferMode.WAVES: "分批派单", OfferMode.POOL: "抢单"}
"""As files say it, both those that come in and those that go out."""


class StartImport(Command):
    kind: ImportKind
    site: SiteCode | None = None
    """Where the rows belong that name no site of their own; by default the actor's."""
    file: Annotated[str, StringConstraints(max_length=200)] = ""
    """Its name."""
    headings: list[Cell] = Field(min_length=1, max_length=MOST_CELLS)
    rows: int = Field(ge=1, le=MOST_ROWS)


class FileRow(BaseModel):
    """``number`` is what a table program shows beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1, le=2_000_000)
    cells: list[Cell] = Field(max_length=MOST_CELLS)


class StageRows(Command):
    """In the order of the file. Sent again they change nothing: the first row's number tells which they are."""

    rows: list[FileRow] = Field(min_length=1, max_length=ROWS_AT_ONCE)


class ExecuteImport(Command):
    skip_errors: bool = False
    """Without it an import is refused while a row is wrong."""


class UndoImport(Command):
    pass
