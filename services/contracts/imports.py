"""Files of rows that the registry takes in: staged, looked at, carried out, and taken back."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.chassis.messages import Command
from services.contracts.registry import SiteCode

MOST_ROWS = 50_000
ROWS_AT_ONCE = 200
"""Of one batch: as many as are checked, and later carried out, without keeping others waiting."""
MOST_CELLS = 50
Cell = Annotated[str, StringConstraints(max_length=1000)]


class ImportKind(StrEnum):
    VOLUNTEERS = "volunteers"
    TEAMS = "teams"


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
