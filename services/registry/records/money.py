"""Budget lines and what is spent of them; sums are in hundredths, so that nothing is lost."""

from services.contracts.errors import invalid
from services.contracts.records import BudgetLine, Spending
from services.registry.domain import in_hundredths
from services.registry.records.kind import Beside, Figures, Kind, Right


def _left(line: BudgetLine, figures: Figures) -> dict[str, float]:
    spent = figures.get("spent", 0)
    return {"spent": spent / 100, "left": (in_hundredths(line.amount) - spent) / 100}


def _within(spending: Spending, beside: Beside) -> Spending:
    line: BudgetLine = beside.whole
    if spending.day.year != line.year:
        raise invalid("day", f"这个预算项目是 {line.year} 年的，请核对日期")
    left = _left(line, beside.figures)["left"]
    is_more = beside.before is None or spending.amount > beside.before.amount
    if is_more and spending.amount > left and not spending.reason:
        raise invalid("reason", f"超出预算：还剩 {left:.2f} 元；确需超支的，请填写原因")
    return spending


KINDS = (
    Kind(
        BudgetLine, write=Right.CENTER, read=Right.STAFF, computed=_left,
        unique=lambda line, site: f"{site} {line.year} {line.name}",
    ),
    Kind(Spending, read=Right.STAFF, settle=_within, figures=lambda s: {"spent": in_hundredths(s.amount)}),
)  # fmt: skip
