"""What is said of wrong fields: plain Chinese, whatever is sent."""

import re
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.routes.identity import Field as FormField
from gateway.routes.orders import Limit, OrderId, Text
from gateway.routes.registry import Id
from services.contracts.actor import Actor, Role
from services.contracts.cases import Complaint, Report
from services.contracts.dispatch import Channel, CompleteOrder, PlaceOrder, RateOrder, Step
from services.contracts.imports import ImportKind
from services.contracts.records import (
    CouncilType,
    HelpType,
    MeetingType,
    OrganisationType,
    PracticePlaceType,
    ProposalDecision,
    VenueType,
    VillageRuleType,
)
from services.contracts.registry import OfferMode, Purpose, RealNameResult, Risk, Slot, TargetGroup, Tier
from services.contracts.series import HolidayPolicy
from services.contracts.support import SupportKind
from services.contracts.wording import FORMS, UNKNOWN, WORDS, WORDS_OF_TIME, invalid_fields
from tests.contract.schemas import parts_of_commands

WRONG: list[Any] = [
    None, "", " ", "soon", "nothing like it", "长" * 2001, "\ud800", "2026-10-01", "2026-10-01T09:00:00", "0", "1.5",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9" * 5000, -1, 6, 1.5, 10**30, float("nan"), True,
    [], [None], ["soon"], ["1"], ["elderly"] * 501, {}, {"soon": 1}, {"$ne": None},
]  # fmt: skip
VALUES = {
    *Channel, *Complaint, *CouncilType, *HelpType, *HolidayPolicy, *ImportKind, *MeetingType, *OfferMode,
    *OrganisationType, *PracticePlaceType, *ProposalDecision, *Purpose, *RealNameResult, *Report, *Risk, *Role, *Slot,
    *Step, *SupportKind, *TargetGroup, *Tier, *VenueType, *VillageRuleType, "person", "client", "true", "false", "http",
    "https",
}  # fmt: skip
Errors = list[Any]


MODELS = {"Actor": Actor, **parts_of_commands()}


def errors(type: Any, values: list[Any]) -> Errors:
    """Also from attributes, as FastAPI reads, which calls some errors by another name."""
    found: Errors = []
    for value in values:
        for from_attributes in (True, False):
            try:
                TypeAdapter(type).validate_python(value, from_attributes=from_attributes)
            except ValidationError as error:
                found += error.errors()
    return found


def of_model(model: type[BaseModel]) -> Errors:
    names = [field.alias or name for name, field in model.model_fields.items()]
    return errors(model, WRONG + [{name: value} for name in names for value in WRONG])


def of_addresses_and_forms() -> Errors:
    texts = [value for value in WRONG if isinstance(value, str)]
    return [error for type in (Limit, Text, OrderId, Id, FormField) for error in errors(type, texts)]


def messages(found: Errors) -> set[str]:
    return {field["message"] for field in invalid_fields(found).extra["fields"]}


def foreign(message: str) -> set[str]:
    """Its Latin words that are no values."""
    return set(re.findall("[A-Za-z_]{2,}", message)) - VALUES


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_whatever_is_wrong_with_a_field_is_said_in_chinese(model: type[BaseModel]) -> None:
    said = messages(of_model(model))
    assert said and UNKNOWN not in said
    assert {message: words for message in said if (words := foreign(message))} == {}


def test_what_is_wrong_with_an_address_or_a_form_is_said_in_chinese_too() -> None:
    said = messages(of_addresses_and_forms())
    assert said and UNKNOWN not in said
    assert not [message for message in said if foreign(message)]


def test_there_are_words_for_what_can_happen_and_for_nothing_else() -> None:
    found = [error for model in MODELS.values() for error in of_model(model)] + of_addresses_and_forms()
    assert {error["type"] for error in found} == {*WORDS, *WORDS_OF_TIME}
    assert {error["ctx"]["pattern"] for error in found if error["type"] == "string_pattern_mismatch"} == set(FORMS)


@pytest.mark.parametrize(
    ("command", "sent", "path", "message"),
    [
        (RateOrder, {}, "score", "请填写这一项"),
        (RateOrder, {"score": 6}, "score", "不能大于 5"),
        (RateOrder, {"score": 5, "colour": "red"}, "colour", "没有这一项，请核对名称或去掉"),
        (RateOrder, {"score": 5, "comment": "长" * 1001}, "comment", "最多填 1000 个字"),
        (PlaceOrder, {"target_group": "old"}, "target_group", f"只能填以下之一：{'、'.join(TargetGroup)}"),
        (PlaceOrder, {"site": "1"}, "site", "应填 4、6、9 或 12 位数字的区划代码"),
        (PlaceOrder, {"preferred": {"from": "1800-01-01T00:00:00Z"}}, "preferred.from", "不能早于 1900-01-01"),
        (PlaceOrder, {"preferred": 5}, "preferred", "应填一组内容，用花括号 { } 括起来"),
        (CompleteOrder, {"records": []}, "records", "至少填 1 项"),
        (RateOrder, [], "", "应填一组内容，用花括号 { } 括起来"),
    ],
)
def test_a_field_is_told_what_is_expected_of_it(command: Any, sent: Any, path: str, message: str) -> None:
    assert {"path": path, "message": message} in invalid_fields(errors(command, [sent])).extra["fields"]


def test_the_summary_names_the_fields_or_the_whole() -> None:
    assert invalid_fields(errors(RateOrder, [{"score": 0, "colour": 1}])).detail.startswith("填写有误：score、colour")
    assert invalid_fields(errors(RateOrder, [[]])).detail.startswith("填写有误：请求内容")
