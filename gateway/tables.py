"""Tables of others: rows out of a file of Excel or CSV, and rows into one.

This runs as a process of its own, ``tables.py read`` or ``tables.py write``, since a file may be made to fill all
memory: the process may take so much and no more, has no keys in its environment, and knows nothing of the rest.
It speaks lines of JSON.
"""

import codecs
import csv
import io
import json
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any, BinaryIO

MOST_MEMORY, MOST_SECONDS = 400_000_000, 30
MOST_ROWS, MOST_CELLS, LONGEST = 50_000, 50, 1000
"""Rows; cells of one, and characters of a cell, of which the rest is left out."""
ZIP, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
EXACT = 1e15
"""From here on a table program has lost digits of a whole number."""
HARMFUL = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
"""How a text begins that a table program would take for a formula."""

Row = tuple[int, list[str]]


class Unreadable(Exception):
    """With what the user is told."""


def rows_of(content: bytes) -> list[Row]:
    """The rows that hold something, with the numbers that a table program shows beside them."""
    if content.startswith(OLD_EXCEL):
        raise Unreadable("这是旧版 Excel 文件（.xls）或加了密码，请另存为没有密码的 .xlsx 再上传")
    cells = _of_excel(content) if content.startswith(ZIP) else _of_csv(content)
    found: list[Row] = []
    for number, texts in enumerate(cells, 1):
        row = [str(text)[:LONGEST] for text in texts[:MOST_CELLS]]
        while row and not row[-1].strip():
            row.pop()
        if row:
            found.append((number, row))
        if len(found) > MOST_ROWS + 1:
            raise Unreadable(f"最多导入 {MOST_ROWS} 行，请把文件拆成几个")
    if len(found) < 2:
        raise Unreadable("文件里没有可以导入的行：第一行是表头，从第二行起是内容")
    return found


def _of_excel(content: bytes) -> Iterator[list[str]]:
    from python_calamine import CalamineError, load_workbook

    try:
        rows = load_workbook(io.BytesIO(content)).get_sheet_by_index(0).iter_rows()
        yield from ([text_of(cell) for cell in row] for row in rows)
    except (CalamineError, IndexError, OSError):
        raise Unreadable("这个 Excel 文件读不出来，请用 Excel 或 WPS 另存为 .xlsx 再上传") from None


def text_of(cell: Any) -> str:
    match cell:
        case bool():
            return "是" if cell else "否"
        case float() if cell.is_integer() and abs(cell) < EXACT:
            return str(int(cell))
        case float() if abs(cell) >= EXACT:
            return f"{cell:E}"
        case date():
            return cell.isoformat()
    return str(cell)


def _of_csv(content: bytes) -> Iterator[list[str]]:
    """In UTF-8, or as Excel writes it in China."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise Unreadable("文件的编码认不出来，请另存为 .xlsx，或编码为 UTF-8、GB18030 的 CSV")
    try:
        yield from ([_unguarded(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        raise Unreadable("这个 CSV 文件读不出来，请用 Excel 或 WPS 另存为 .xlsx 再上传") from None


def _unguarded(text: str) -> str:
    """What ``harmless`` has made of it, taken back: a list that was given out may come in again."""
    return text[1:] if text.startswith("'") and HARMFUL.match(text[1:]) else text


def harmless(text: str) -> str:
    """As a CSV may hold it: nobody's name becomes a formula."""
    return f"'{text}" if HARMFUL.match(text) else text


def csv_line(row: Iterable[Any]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow([harmless(cell) if isinstance(cell, str) else cell for cell in row])
    return line.getvalue().encode()


CSV_START = codecs.BOM_UTF8
"""Without it Excel does not take a CSV for UTF-8."""


def workbook(rows: Iterable[list[Any]]) -> bytes:
    """Texts are texts, whatever they begin with."""
    from xlsxwriter import Workbook

    file = io.BytesIO()
    with Workbook(file, {"in_memory": True}) as book:
        sheet, as_text, bold = (
            book.add_worksheet(),
            book.add_format({"num_format": "@"}),
            book.add_format({"bold": True}),
        )
        sheet.set_column(0, MOST_CELLS - 1, 20, as_text)
        sheet.freeze_panes(1, 0)
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                if isinstance(cell, str):
                    sheet.write_string(number, column, cell, as_text if number else bold)
                elif cell is not None:
                    sheet.write_number(number, column, cell)
    return file.getvalue()


def main(what: str, given: BinaryIO, told: BinaryIO) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    if what == "write":
        told.write(workbook(map(json.loads, given)))
        return
    try:
        found = rows_of(given.read())
        (_, headings), *rows = found
        lines: Iterable[Any] = ({"headings": headings, "rows": len(rows)}, *rows)
    except Unreadable as error:
        lines = ({"unreadable": str(error)},)
    for line in lines:
        told.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
