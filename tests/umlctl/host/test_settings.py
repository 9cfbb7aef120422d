from __future__ import annotations

from umlctl.host import settings


def test_setting_is_read_by_its_name() -> None:
    assert settings.number("kernel.pid_max", -1) > 0
    assert settings.number("kernel.no_such_setting", 7) == 7
    assert settings.number("kernel.ostype", 7) == 7, "it is no number"
