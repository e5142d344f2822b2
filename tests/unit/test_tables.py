"""Files of others: what is read out of them, and what is made harmless in those that are given out."""

import asyncio
import csv
import io
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from typing import Any

import pytest
from python_calamine import load_workbook
from xlsxwriter import Workbook

from gateway import tables
from gateway.files import read_rows, write_workbook
from gateway.tables import Unreadable, csv_line, harmless, rows_of, text_of, workbook
from services.contracts import imports
from services.contracts.errors import Invalid

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1+1", "＋1", "－1", "＠x"]


def an_excel_file(*rows: Sequence[Any]) -> bytes:
    file = io.BytesIO()
    with Workbook(file, {"in_memory": True, "default_date_format": "yyyy-mm-dd"}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return file.getvalue()


def read(content: bytes) -> list[Any]:
    async def all_rows() -> list[Any]:
        return [told async for told in read_rows(content)]

    return asyncio.run(all_rows())


def test_the_process_and_the_contract_have_the_same_limits() -> None:
    assert tables.MOST_ROWS == imports.MOST_ROWS and tables.MOST_CELLS == imports.MOST_CELLS
    (limit,) = (part.max_length for part in imports.Cell.__metadata__)  # type: ignore[attr-defined]
    assert limit == tables.LONGEST


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_csv_is_read_as_it_is_written_in_china(encoding: str) -> None:
    content = '姓名,备注\r\n张三,"有,逗号\n和换行"\r\n\r\n𠮷田,㐂\r\n'.encode(encoding)
    assert rows_of(content) == [(1, ["姓名", "备注"]), (2, ["张三", "有,逗号\n和换行"]), (4, ["𠮷田", "㐂"])]


def test_cells_of_excel_are_told_as_they_are_shown() -> None:
    content = an_excel_file(["姓名", "电话", "日期", "是"], [], ["张三", 13912345678, date(2026, 10, 1), True, None])
    assert rows_of(content) == [(1, ["姓名", "电话", "日期", "是"]), (3, ["张三", "13912345678", "2026-10-01", "是"])]
    assert [text_of(cell) for cell in (1.5, 3.0, 130802198501051239.0, False, datetime(2026, 1, 2, 3, 4), "x")] == [
        "1.5", "3", "1.308022E+17", "否", "2026-01-02T03:04:00", "x"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "没有可以导入的行"),
        ("姓名\r\n".encode(), "没有可以导入的行"),
        (b"PK\x03\x04nonsense", "另存为 .xlsx"),
        (b"\xd0\xcf\x11\xe0old", "旧版 Excel"),
        (b"\xff\xff\xff", "编码"),
        (b"a\n" + b"b\n" * (imports.MOST_ROWS + 1), f"最多导入 {imports.MOST_ROWS} 行"),
        (b'a\n"' + b"x" * 200_000, "CSV 文件读不出来"),
    ],
)
def test_what_is_no_table_is_said(content: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        rows_of(content)
    with pytest.raises(Invalid, match=said):
        read(content)


def test_rows_come_out_of_the_process_in_order() -> None:
    assert read("姓名,电话\n张三,1\n\n李四,2\n".encode()) == [
        {"headings": ["姓名", "电话"], "rows": 2}, [2, ["张三", "1"]], [4, ["李四", "2"]]
    ]  # fmt: skip


def test_a_file_that_would_fill_all_memory_is_refused_and_harms_nobody() -> None:
    """A few bytes may claim a table of 17 billion cells."""
    small, bomb = zipfile.ZipFile(io.BytesIO(an_excel_file(["a"], ["b"]))), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        for name in small.namelist():
            content = small.read(name)
            if name.endswith("sheet1.xml"):
                far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
                content = content.replace(b"</sheetData>", far)
                content = content.replace(b'ref="A1:A2"', b'ref="A1:XFD1048576"')
            made.writestr(name, content)
    with pytest.raises(Invalid, match="读不出来"):
        read(bomb.getvalue())


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_looks_like_a_formula_is_one_no_more_in_a_csv(text: str) -> None:
    assert harmless(text) == f"'{text}"
    ((cell, number),) = csv.reader(io.StringIO(csv_line([text, -1.5]).decode(), newline=""))
    assert (cell, number) == (f"'{text}", "-1.5"), "a number stays one"


@pytest.mark.parametrize("text", [*FORMULAS, "'x", "O'Hara", "张三"])
def test_a_csv_that_was_given_out_says_the_same_when_it_comes_in(text: str) -> None:
    assert rows_of(csv_line(["名称", "编号"]) + csv_line([text, "1"]))[1] == (2, [text, "1"])


@pytest.mark.parametrize("text", ["张三", "a=b", "3-4", "'x", ""])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_in_a_file_of_excel_every_text_is_a_text() -> None:
    async def rows() -> AsyncIterator[list[Any]]:
        yield ["姓名", "时长", "空"]
        for text in FORMULAS:
            yield [text, 1.5, None]

    content = asyncio.run(write_workbook(rows()))
    sheet = zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml")
    assert b"<f>" not in sheet
    found = load_workbook(io.BytesIO(content)).get_sheet_by_index(0).to_python()
    assert [row[1] for row in found[1:]] == [1.5] * len(FORMULAS)
    assert [str(row[0]).strip() for row in found[1:]] == [text.strip() for text in FORMULAS]
    assert rows_of(workbook([["a"], ["=1"]])) == [(1, ["a"]), (2, ["=1"])]
