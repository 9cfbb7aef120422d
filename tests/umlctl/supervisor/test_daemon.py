from __future__ import annotations

import trio
import trio.testing

from umlctl.host import paths
from umlctl.supervisor import daemon
from umlctl.supervisor.door import Door


async def test_service_stays_though_there_is_nothing_to_do(
    house: str, autojump_clock: trio.testing.MockClock
) -> None:
    paths.make_run_dir()
    listener = Door(paths.supervisor_socket())
    with trio.move_on_after(daemon.IDLE_TIMEOUT * 10) as limit:
        await daemon.Daemon(listener, service=True).run()
    assert limit.cancelled_caught
    # No limit here: the clock jumps while a thread works.
    await daemon.Daemon(listener, service=False).run()
    listener.close()
