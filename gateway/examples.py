"""What the body of each command may look like, for the documentation of the interface."""

from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from services.contracts import cases, dispatch, imports, notifications, records, registry, series, support
from services.contracts.activities import ReverseHours

Example = dict[str, Any]
Examples = dict[type[BaseModel], Example]

SOMEBODY, TEAM, SITE = "01K0S4XG7R8Q2M5T9V3W6Y1ZBC", "team-haircut", "130802103202"
GOODS = [{"name": "折叠椅", "count": 20}]

ORDERS: Examples = {
    dispatch.PlaceOrder: {
        "service_item": "home-haircut", "description": "腿脚不便，请上门理发", "target_group": "elderly",
        "address": "庄头营村 8 号",
        "preferred": {"from": "2027-03-05T09:00:00+08:00", "to": "2027-03-05T11:00:00+08:00"},
    },
    dispatch.AdvanceOrders: {"step": "escalate", "orders": [SOMEBODY], "reason": "本站今天没有队伍"},
    dispatch.OfferOrder: {"teams": [TEAM], "reason": "这支队伍熟悉这位老人"},
    dispatch.AcceptOrder: {"team": TEAM, "volunteers": [SOMEBODY]},
    dispatch.DeclineOrder: {"team": TEAM, "reason": "那天已有安排"},
    dispatch.WithdrawOrder: {"team": TEAM, "reason": "队员生病"},
    dispatch.EscalateOrder: {"reason": "本站没有会修电器的队伍"},
    dispatch.CancelOrder: {"reason": "已经请邻居帮忙"},
    dispatch.RejectOrder: {"reason": "不属于志愿服务范围"},
    dispatch.ReopenOrder: {"reason": "水管又漏了"},
    dispatch.CompleteOrder: {
        "records": [{
            "volunteer": SOMEBODY, "from": "2027-03-05T09:00:00+08:00", "to": "2027-03-05T10:00:00+08:00"
        }],
        "summary": "上门理发一次",
    },
    dispatch.RateOrder: {"score": 5, "comment": "理得好，人也和气"},
    dispatch.RateVisit: {"score": 4, "comment": "门牌不好找，请在地址里写明楼层"},
    dispatch.SendMessage: {"text": "请问几点方便？", "needs_reply": True},
    dispatch.AppointVisit: {"from": "2027-03-05T09:00:00+08:00", "to": "2027-03-05T10:00:00+08:00"},
    dispatch.ReportNoShow: {"reason": "约定时间没有人来"},
    dispatch.JoinOrder: {"on_behalf_of": SOMEBODY},
    dispatch.LeaveOrder: {"on_behalf_of": SOMEBODY},
    dispatch.AddNote: {"text": "老人耳背，请先打电话"},
    dispatch.PublishRules: {
        "block": [{"name": "far-for-daily", "title": "天天要做的不派太远", "when": {"distance_from": 2}}],
        "weights": {"skill": 3, "distance": 3}, "wave": {"size": 2, "minutes": 20},
        "no_shows": {"limit": 3, "days": 90},
    },
    cases.Complain: {"about": "fee", "text": "理发以后要收二十元"},
    cases.ReportCase: {"kind": "mediation", "text": "两家为院墙吵起来了", "urgent": True},
    cases.ReferCase: {"reason": "两家都不让步，需要司法所"},
    cases.SettleCase: {"outcome": "已经上门说好，院墙往里让一尺"},
    support.RequestSupport: {"kind": "material", "text": "大讲堂缺椅子", "goods": GOODS},
    support.AnswerSupport: {"text": "今天下午送到", "goods": GOODS},
    support.DeclineSupport: {"reason": "仓库没有，已请乡镇代购"},
    support.RateSupport: {"score": 5},
    series.StartSeries: {
        "service_item": "meal", "description": "每天中午一份午饭，送到家", "target_group": "elderly",
        "address": "庄头营村 8 号", "rule": "FREQ=DAILY", "start": "2027-03-05T10:40:00+08:00",
        "holidays": "as_planned",
    },
    series.MoveOccurrence: {"occurrence": "2027-03-05", "to": "2027-03-06T10:40:00+08:00"},
    series.SkipOccurrence: {"occurrence": "2027-03-05", "reason": "那天去看女儿"},
    series.EndSeries: {"from": "2027-04-01", "reason": "搬去和女儿同住"},
}  # fmt: skip
PEOPLE: Examples = {
    registry.RegisterVolunteer: {
        "name": "王秀兰", "id_number": "130824194005010024", "phone": "13912345678", "skills": ["理发"],
        "categories": ["社区服务"],
    },
    registry.LookUpVolunteers: {"phone": "13912345678"},
    registry.UpdateProfile: {
        "skills": ["理发", "摄影"], "availability": ["sat_morning", "holiday_morning"], "categories": ["社区服务"],
    },
    registry.GrantQualification: {"kind": "急救员", "until": "2027-12-31"},
    registry.InsureVolunteer: {"until": "2027-12-31"},
    registry.ReportAbsence: {"from": "2027-07-01", "to": "2027-07-31", "stand_in": SOMEBODY},
    registry.SuspendVolunteer: {"reason": "多次约好后没有到场"},
    registry.ResumeVolunteer: {"reason": "已经说明情况"},
    registry.CheckRealName: {"result": "failed", "reason": "姓名与身份证号不一致"},
    registry.GiveConsent: {"purpose": "publication", "version": "1"},
    registry.WithdrawConsent: {"purpose": "publication"},
    registry.ProposeTeam: {"name": "庄头营护河队", "categories": ["环境保护"]},
    registry.RefuseTeam: {"reason": "本村已有同类队伍"},
    registry.SuspendTeam: {"reason": "队长长期外出"},
    registry.ResumeTeam: {"reason": "已经选出新队长"},
    registry.DissolveTeam: {"reason": "并入村民服务队"},
    registry.InviteMember: {"volunteer": SOMEBODY},
    registry.AdmitMember: {"volunteer": SOMEBODY},
    registry.RemoveMember: {"volunteer": SOMEBODY},
    registry.HandOverTeam: {"volunteer": SOMEBODY},
    imports.ExecuteImport: {"skip_errors": True},
    notifications.ReadNotifications: {"up_to": SOMEBODY},
    notifications.SetPreferences: {"sms": {"message": True}, "quiet": {"from": "21:30", "to": "07:30"}},
    ReverseHours: {"reason": "起止时间登记有误"},
}  # fmt: skip
RECORDS: Examples = {
    records.Organisation: {
        "name": "庄头营粮油店", "type": "merchant", "offers": "六十岁以上老人九折", "contact": "王秀兰",
        "phone": "0314-2020202",
    },
    records.Twinning: {"organisation": SOMEBODY, "types": ["civility", "environment"], "since": "2027-01-01"},
    records.HelpRecord: {"twinning": SOMEBODY, "type": "civility", "day": "2027-02-01", "what": "送春联", "people": 30},
    records.Venue: {"name": "议事厅", "type": "meeting_hall", "capacity": 40, "opens": "08:00", "closes": "20:00"},
    records.Booking: {
        "venue": SOMEBODY, "from": "2027-03-05T09:00:00+08:00", "to": "2027-03-05T11:00:00+08:00", "purpose": "书画班",
        "people": 20, "contact": "王秀兰",
    },
    records.PracticePlace: {"name": "滨河公园实践点", "type": "park", "address": "滨河路 1 号"},
    records.BudgetLine: {"year": 2027, "name": "志愿者保险", "amount": 5000},
    records.Spending: {"line": SOMEBODY, "day": "2027-03-01", "amount": 120.5, "what": "横幅"},
    records.Checklist: {"standard": "liuyou-2024", "year": 2027},
    records.Flagship: {"name": "剪纸进院落", "description": "非遗剪纸，每月一次", "category": "文化艺术"},
    records.Meeting: {
        "type": "deliberation", "day": "2027-03-01", "subject": "修路灯", "decisions": [{"text": "三月底前修好"}],
    },
    records.Plan: {"year": 2027, "subject": "年度计划", "tasks": [{"text": "每月一次大讲堂", "progress": 25}]},
    records.SiteLink: {"person": "王秀兰", "position": "镇党委委员"},
    records.VillageRule: {
        "type": "banquets", "name": "红白喜事规定", "text": "红事不超过十桌", "adopted": "2027-01-01",
    },
    records.Council: {
        "type": "weddings_and_funerals", "name": "红白理事会", "members": [{"name": "李某", "role": "会长"}],
    },
    records.Proposal: {"subject": "建长者食堂", "text": "村里老人多，中午做饭难", "category": "社区服务"},
    records.Project: {"name": "送戏下乡", "category": "文化艺术", "description": "每季度一场"},
    records.Household: {
        "number": "庄头营 12 户",
        "members": [
            {"name": "王秀兰", "account": SOMEBODY, "groups": ["elderly"]},
            {"name": "王小红", "relation": "女儿", "account": "01K0S4XG7R8Q2M5T9V3W6Y1ZBD", "proxy": True},
        ],
    },
    records.RetireRecord: {"reason": "已经并入别处"},
}  # fmt: skip
EXAMPLES = ORDERS | PEOPLE | RECORDS


def example_of(command: type[BaseModel]) -> Example | None:
    """None: there is nothing to say in it, or nobody has written one."""
    if command in EXAMPLES:
        return EXAMPLES[command]
    kind = command.__name__.removeprefix("Change")
    for body, example in RECORDS.items():
        if body.__name__ == kind:  # of a change one field is enough
            return dict([item for item in example.items() if item[0] in shown(command)][-1:])
    return None


def shown(command: type[BaseModel]) -> set[str]:
    """The names that its fields have outside."""
    return {field.alias or name for name, field in command.model_fields.items()}


def add_to(document: dict[str, Any], routes: Iterable[BaseRoute]) -> None:
    """To the OpenAPI document of these routes."""
    for route in routes:
        body = route.body_field.field_info.annotation if isinstance(route, APIRoute) and route.body_field else None
        example = example_of(body) if isinstance(body, type) and issubclass(body, BaseModel) else None
        if isinstance(route, APIRoute) and example:
            for method in route.methods or ():
                content = document["paths"][route.path][method.lower()]["requestBody"]["content"]
                content["application/json"]["examples"] = {"example": {"value": example}}
