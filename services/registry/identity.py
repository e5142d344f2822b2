"""Numbers that tell who a person is: the citizen id number and the mobile number (domain, section 9)."""

import re
import unicodedata
from datetime import date

from services.contracts.errors import invalid

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643
CHECK_CHARACTERS = "10X98765432"
ID_NUMBER = re.compile(r"[0-9]{17}[0-9X]")
CREDIT_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100-2015
CREDIT_CODE = re.compile(f"[{CREDIT_CHARACTERS}]{{18}}")
ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)  # GB 11714
MOBILE = re.compile(r"1[3-9][0-9]{9}")


def citizen_id(text: str, today: date) -> str:
    """The number in its one form, or ``Invalid``. The area prefix is advisory and not judged."""
    number = _plain(text).upper()
    if not ID_NUMBER.fullmatch(number):
        raise invalid("id_number", "身份证号应为18位")
    if number[17] != check_character(number):
        raise invalid("id_number", "身份证号校验位不对，请核对")
    try:
        born = birth_date(number)
    except ValueError:
        raise invalid("id_number", "身份证号中的出生日期不存在") from None
    if born > today:
        raise invalid("id_number", "身份证号中的出生日期在今天之后")
    return number


def check_character(number: str) -> str:
    total = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number, strict=False))
    return CHECK_CHARACTERS[total % 11]


def birth_date(id_number: str) -> date:
    return date(int(id_number[6:10]), int(id_number[10:12]), int(id_number[12:14]))


def sex(id_number: str) -> str:
    return "male" if int(id_number[16]) % 2 else "female"


def age_on(day: date, born: date) -> int:
    """In full years."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def mobile(text: str) -> str:
    number = _plain(text).replace("-", "")
    if not MOBILE.fullmatch(number):
        raise invalid("phone", "手机号应为11位，以1开头")
    return number


def _plain(text: str) -> str:
    """Full-width characters as half-width ones, without blanks."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def credit_code(text: str) -> str:
    """The unified social credit code in its one form, or ``Invalid`` (GB 32100-2015, GB 11714 within)."""
    code = _plain(text).upper()
    if not CREDIT_CODE.fullmatch(code):
        raise invalid("credit_code", "统一社会信用代码应为18位数字和大写字母，不含 I、O、S、V、Z")
    if code[17] != _credit_check(code[:17]) or code[16] != _organisation_check(code[8:16]):
        raise invalid("credit_code", "统一社会信用代码校验位不对，请核对")
    return code


def _credit_check(code: str) -> str:
    total = sum(CREDIT_CHARACTERS.index(c) * pow(3, n, 31) for n, c in enumerate(code))
    return CREDIT_CHARACTERS[-total % 31]


def _organisation_check(code: str) -> str:
    """Of the organisation's own code; digits and letters have the values of base 36."""
    total = sum(int(c, 36) * weight for c, weight in zip(code, ORGANISATION_WEIGHTS, strict=True))
    return "0123456789X"[-total % 11]
