"""An image that was built without root is the root of a guest."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import wait_for

if TYPE_CHECKING:
    from tests.live.conftest import House


@pytest.mark.timeout(300)
def test_image_with_a_busybox_boots_and_shuts_down(house: House, umid: str, tmp_path: Path) -> None:
    made = json.loads(house.ok("image", "build", umid, "--size", "48M", "--json"))
    top = f"{tmp_path}/top.cow"
    house.start(umid, "--root", f"{made['path']},cow={top}")
    log = Path(f"{house.state}/guests/{umid}/console.log")
    wait_for(lambda: f"{umid}:/root# ".encode() in log.read_bytes(), "a shell that says where")
    with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
        console.write(
            "mount >/root/m; cp /etc/hosts /root/h; uname -n >/root/n; echo y >/root/done\n"
        )
    wait_for(lambda: house.ask(umid, "proc 1/root/root/done").data.strip() == b"y", "written")
    said = {each: house.ask(umid, f"proc 1/root/root/{each}").data.decode() for each in "mhn"}
    assert said["n"].strip() == umid
    assert f"127.0.1.1 {umid} #" in said["h"]
    assert ",discard" in said["m"].split(" / ")[1].splitlines()[0]  # it gives back what it frees
    refused = house.umlctl("image", "rm", umid)
    assert refused.returncode == 7
    assert f"is read by {umid} as its ubd0" in refused.stderr
    assert "shut down" in house.ok("shutdown", umid)
    house.ok("cow", "merge", top, f"{tmp_path}/merged")
    done = subprocess.run(
        ["e2fsck", "-fn", f"{tmp_path}/merged"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    Path(top).unlink()
    house.ok("rm", umid)
    house.ok("image", "rm", umid)


@pytest.mark.timeout(300)
def test_script_runs_in_a_guest_and_what_it_made_is_built_the_same(
    house: House, umid: str, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("set -e\nuname -r >/root/made\nchown 7:8 /root/made\nid -u\n")
    digests = []
    for _ in range(2):
        words = ("image", "build", umid, "--size", "16M", "--run", str(script), "--json")
        made = json.loads(house.ok(*words))
        digests.append(hashlib.sha256(Path(made["path"]).read_bytes()).hexdigest())
        house.ok("image", "rm", umid)
    assert digests[0] == digests[1]
    script.write_text("exit 3\n")
    failed = house.umlctl("image", "build", umid, "--run", str(script))
    assert failed.returncode == 7
    assert "script ended with 3 in the guest, and nothing was built" in failed.stderr
    assert os.listdir(f"{house.state}/images") == ["lock"]
