"""Where days begin and end: all of China has one time, and no clock is ever put forward or back."""

from zoneinfo import ZoneInfo

CHINA = ZoneInfo("Asia/Shanghai")
