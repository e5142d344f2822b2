"""What somebody is found by."""

import pytest

from services.contracts.errors import Invalid
from services.registry.directory import MOST_READINGS, MOST_WORDS, Kind, search_terms, terms_of

pytestmark = pytest.mark.usefixtures("data_key")


def _finds(text: str | None, name: str, *skills: str, skill: str | None = None) -> bool:
    terms = terms_of(Kind.VOLUNTEER, name, skills)
    return set(search_terms(Kind.VOLUNTEER, text, skill)) <= set(terms)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "  ", "张", "张三", "三丰", "丰", "张三丰", "zhang", "zhangsan", "zhangsanfeng", "ZhangSanFeng",
        "sanfeng", "zs", "zsf", "ｚｓｆ", "张 丰", "张三丰 理发", "zsf 急救", "理发", "急救员", "理",
    ],
)  # fmt: skip
def test_by_name_pinyin_initials_and_skill(text: str | None) -> None:
    assert _finds(text, "张三丰", "理发", "急救员") is (text != "理")


@pytest.mark.parametrize("text", ["李", "张丰", "zhangfeng", "z", "sf", "han", "zhan", "张三丰 修车", "张三丰老师"])
def test_not_by_what_is_not_there(text: str) -> None:
    assert not _finds(text, "张三丰", "理发")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shan", "单田芳"), ("dan", "单田芳"), ("sTF", "单田芳"), ("zeng", "曾国强"), ("xie", "解晓东"),
        ("qiu", "仇英"), ("ouyang", "欧阳娜"), ("oyn", "欧阳娜"), ("lv", "吕布"), ("ailimaimaiti", "艾力·买买提"),
        ("力·", "艾力·买买提"), ("li", "Li Ming"), ("li", "Ｌi"),
    ],
)  # fmt: skip
def test_every_reading_of_a_surname_counts_and_foreign_names_too(text: str, name: str) -> None:
    assert _finds(text, name)


def test_a_skill_asked_for_is_a_whole_one() -> None:
    assert _finds("张", "张三丰", "急救", skill="急救")
    assert not _finds("张", "张三丰", "急救员", skill="急救")
    assert not _finds(None, "急救", skill="急救"), "that is a name"


def test_a_team_is_no_volunteer() -> None:
    of_team = terms_of(Kind.TEAM, "张三丰", [])
    assert not set(search_terms(Kind.VOLUNTEER, "张三丰")) & set(of_team)
    assert set(search_terms(Kind.TEAM, "张三丰")) <= set(of_team)


def test_what_is_kept_is_no_text_and_not_without_limit() -> None:
    name = "单" * 30
    terms = terms_of(Kind.VOLUNTEER, name, [])
    assert all(isinstance(term, int) and -(2**63) <= term < 2**63 for term in terms)
    assert len(terms) == len(set(terms)) < MOST_READINGS * 3 * len(name)


def test_too_many_words_are_refused() -> None:
    assert search_terms(Kind.VOLUNTEER, "张 " * MOST_WORDS)
    with pytest.raises(Invalid):
        search_terms(Kind.VOLUNTEER, "张 " * (MOST_WORDS + 1))
