"""Organisations, whom they are twinned with, and what they have done there."""

from services.contracts.errors import invalid
from services.contracts.records import HelpRecord, Organisation, Twinning
from services.registry.domain import in_hundredths
from services.registry.identity import credit_code
from services.registry.records.kind import Beside, Figures, Kind, Right


def _with_code(organisation: Organisation, _beside: Beside) -> Organisation:
    code = organisation.credit_code
    return organisation.model_copy(update={"credit_code": credit_code(code)}) if code else organisation


def _in_order(twinning: Twinning, _beside: Beside) -> Twinning:
    if twinning.until and twinning.until < twinning.since:
        raise invalid("until", "结束日期不能早于开始日期")
    return twinning


def _as_agreed(record: HelpRecord, beside: Beside) -> HelpRecord:
    twinning: Twinning = beside.whole
    if record.type not in twinning.types:
        raise invalid("type", f"这对结对没有约定这类帮建；约定的有 {'、'.join(twinning.types)}")
    if record.day < twinning.since or (twinning.until and record.day > twinning.until):
        raise invalid("day", "日期不在结对期内，请核对")
    return record


def _help(record: HelpRecord) -> Figures:
    return {"records": 1, "people": record.people, "value": in_hundredths(record.value or 0)}


def _sum(_twinning: Twinning, figures: Figures) -> dict[str, float]:
    about = {"records": figures.get("records", 0), "people": figures.get("people", 0)}
    return {**about, "value": figures.get("value", 0) / 100}


KINDS = (
    Kind(Organisation, settle=_with_code, unique=lambda o, site: o.credit_code or f"{site} {o.name}"),
    Kind(
        Twinning, write=Right.CENTER, settle=_in_order, computed=_sum, unique=lambda t, site: f"{site} {t.organisation}"
    ),
    Kind(HelpRecord, settle=_as_agreed, figures=_help),
)
