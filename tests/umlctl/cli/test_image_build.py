from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.images import oci, tar
from umlctl import exitcodes
from umlctl.cli import image_guest
from umlctl.kernels import modules
from umlctl.storage import ext4, image_lint, other_fs

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor


def build(supervisor: Supervisor, name: str, source: str, *words: str) -> dict[str, Any]:
    assert supervisor.main("image", "build", name, "--from", source, "--json", *words) == 0
    made: dict[str, Any] = json.loads(supervisor.out)
    return made


def test_same_input_makes_the_same_bytes(supervisor: Supervisor, house: str) -> None:
    contents = []
    for source in ("host-busybox", f"{house}/tree", f"{house}/tree.tar"):
        os.makedirs(f"{house}/tree/etc", exist_ok=True)
        Path(f"{house}/tree/etc/x").write_text("x")
        subprocess.run(["tar", "-C", f"{house}/tree", "-cf", f"{house}/tree.tar", "."], check=True)
        for _ in range(2):
            made = build(supervisor, "a", source, "--size", "16M")
            contents.append(Path(made["path"]).read_bytes())
            assert made["recipe"]["from"] == source
            assert supervisor.main("image", "rm", "a") == 0
        assert contents[-1] == contents[-2], source


def test_size_has_room(supervisor: Supervisor, house: str) -> None:
    os.mkdir(f"{house}/tree")
    Path(f"{house}/tree/x").write_bytes(os.urandom(4 << 20))
    assert build(supervisor, "a", f"{house}/tree")["size"] == 38 << 20


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["a", "--from", "none"], 2, "or a tree or archive that is there, not 'none'"),
        (["a/b", "--from", "host-busybox"], 2, "an image's name"),
        (["a", "--from", "debian:../x"], 2, "a suite or a package is a word"),
        (["a", "--from", "debian", "--packages", "vim,--x"], 2, "a suite or a package is a word"),
        (["a", "--packages", "vim"], 2, "--packages is for --from debian"),
        (["a", "--user", "A B"], 2, "a user's name has"),
        (["a", "--hostname", "a b"], 2, "a host name has"),
        (["a", "--ssh-key", "/etc/passwd"], 2, "--ssh-key is a public key in one line"),
        (["a", "--ssh-key", "/none"], 2, "does not exist"),
        (["a", "--run", "/none"], 2, "does not exist"),
        (["a", "--from", "host-busybox", "--size", "x"], 2, "a size is a number"),
        (["a", "--from", "host-busybox", "--size", "64k"], 7, "without --size makes it as"),
    ],
)
def test_what_cannot_be_is_said(
    supervisor: Supervisor, words: list[str], code: int, why: str
) -> None:
    assert supervisor.main("image", "build", *words) == code
    assert why in supervisor.err
    assert supervisor.main("image", "list", "--json") == 0
    assert json.loads(supervisor.out) == []


def test_program_that_cannot_be_executed_is_no_matter_of_size(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(f"{house}/tree")
    os.mkdir(f"{house}/bin")
    Path(f"{house}/bin/mke2fs").touch(0)
    os.symlink("/bin/sh", f"{house}/bin/sh")
    monkeypatch.setenv("PATH", f"{house}/bin")
    monkeypatch.setattr(ext4, "MORE_PLACES", "")
    words = ("image", "build", "a", "--from", f"{house}/tree", "--size", "16M")
    assert supervisor.main(*words) == exitcodes.FAILED
    assert f"{house}/bin/mke2fs cannot be executed: its mode forbids it" in supervisor.err
    assert "--size" not in supervisor.err


def test_image_that_is_there_is_not_replaced(supervisor: Supervisor, house: str) -> None:
    os.mkdir(f"{house}/tree")
    build(supervisor, "a", f"{house}/tree")
    assert supervisor.main("image", "build", "a", "--from", f"{house}/tree") == exitcodes.FAILED
    assert "it is there already" in supervisor.err


def test_debian_is_put_together_by_mmdebstrap(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"{house}/mmdebstrap"
    Path(program).write_text(
        '#!/bin/sh\nfor last; do :; done\necho "$*" >"${0%/*}/words"\n'
        'cd / && tar -cf "$last" etc/hostname\n'
    )
    os.chmod(program, 0o755)
    real = shutil.which
    found: dict[str, str | None] = {"mmdebstrap": program}
    monkeypatch.setattr(shutil, "which", lambda name, **more: found.get(name, real(name, **more)))
    monkeypatch.setenv("XDG_CACHE_HOME", f"{house}/cache")
    os.mkdir(f"{house}/modules")
    Path(f"{house}/modules/x.ko").write_text("x")
    monkeypatch.setattr(modules, "of_release", lambda _kernel: f"{house}/modules")
    made = build(supervisor, "a", "debian:bookworm")
    (release,) = ext4.names(made["path"], "/lib/modules")
    assert ext4.contents(made["path"], f"/lib/modules/{release}/x.ko") == b"x"
    made = build(supervisor, "c", "debian", "--packages", "vim,less")
    assert made["recipe"]["packages"] == ["vim", "less"]
    assert "less,udev,udhcpc,vim stable" in Path(f"{house}/words").read_text()
    assert made["recipe"]["epoch"] % 86400 == 0
    Path(program).write_text("#!/bin/sh\necho E: no such suite >&2\nexit 25\n")
    build(supervisor, "d", "debian:bookworm")  # of what the first was made of
    assert supervisor.main("image", "build", "b", "--from", "debian:none") == exitcodes.FAILED
    assert "mmdebstrap: E: no such suite" in supervisor.err
    found["mmdebstrap"] = None
    assert supervisor.main("image", "build", "b", "--from", "debian") == exitcodes.FAILED
    assert "apt install mmdebstrap" in supervisor.err


def test_container_image_is_fetched_by_skopeo(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = oci(Path(f"{house}/a.tar"), tar({"etc/passwd": b"root:x:0:0::/:/bin/sh\n"}))
    program = f"{house}/skopeo"
    Path(program).write_text(
        f'#!/bin/sh\necho "$*" >{house}/words\ncp {path} "${{4#oci-archive:}}"\n'
    )
    os.chmod(program, 0o755)
    found: dict[str, str | None] = {"skopeo": program}
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **more: found.get(name, real(name, **more)))
    assert supervisor.main("image", "pull", "example.org:5000/team/web:1.0", "--json") == 0
    made = json.loads(supervisor.out)
    assert (made["name"], made["recipe"]["from"]) == (
        "web-1.0",
        "docker://example.org:5000/team/web:1.0",
    )
    assert (ext4.contents(made["path"], "/etc/passwd") or b"").startswith(b"root:")
    words = Path(f"{house}/words").read_text().split()
    assert words[1:3] == ["copy", "docker://example.org:5000/team/web:1.0"]
    build(supervisor, "b", "containers-storage:localhost/web")
    words = Path(f"{house}/words").read_text().split()
    assert words[1:3] == ["copy", "containers-storage:localhost/web"]
    said = r'time="T" level=fatal msg="reading manifest: \"1.0\" unknown"'
    Path(program).write_text(f"#!/bin/sh\ncat >&2 <<'E'\n{said}\nE\nexit 1\n")
    assert supervisor.main("image", "pull", "web", "c") == exitcodes.FAILED
    assert 'image build c: skopeo: reading manifest: "1.0" unknown' in supervisor.err
    found["skopeo"] = None
    assert supervisor.main("image", "pull", "web", "c") == exitcodes.FAILED
    assert "apt install skopeo" in supervisor.err
    assert supervisor.main("image", "pull", "--", "-x", "c") == exitcodes.USAGE
    assert "a container image has a name such as" in supervisor.err


def test_container_is_built_with_what_a_root_needs(supervisor: Supervisor, house: str) -> None:
    path = oci(Path(f"{house}/a.tar"), tar({"etc": None, "etc/passwd": b"root:x:0:0::/:/bin/sh\n"}))
    Path(f"{house}/key").write_text("ssh-ed25519 AAAA me\n")
    words = ("--user", "me", "--ssh-key", f"{house}/key", "--hostname", "web")
    made = build(supervisor, "a", path, *words)
    assert made["recipe"]["ssh-keys"] == ["ssh-ed25519 AAAA me"]
    assert ext4.contents(made["path"], "/home/me/.ssh/authorized_keys") == b"ssh-ed25519 AAAA me\n"
    assert ext4.contents(made["path"], "/etc/hostname") == b"web\n"
    assert made["recipe"]["hostname"] == "web"
    assert image_lint.problems(made["path"]) == []


def test_tree_is_as_it_is_and_never_changed(supervisor: Supervisor, house: str) -> None:
    os.makedirs(f"{house}/tree/etc")
    os.makedirs(f"{house}/data")
    Path(f"{house}/tree/etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    made = build(supervisor, "a", f"{house}/tree")
    assert not ext4.exists(made["path"], "/etc/hostname")
    made = build(supervisor, "b", f"{house}/tree", "--hostname", "web")
    assert ext4.contents(made["path"], "/etc/hostname") == b"web\n"
    assert os.listdir(f"{house}/tree/etc") == ["passwd"]
    os.mkfifo(f"{house}/tree/pipe")
    os.chmod(f"{house}/tree/etc", 0o555)
    made = build(supervisor, "p", f"{house}/tree", "--hostname", "web")
    assert ext4.exists(made["path"], "/pipe")
    assert ext4.contents(made["path"], "/etc/hostname") == b"web\n"
    words = ("image", "build", "c", "--from", f"{house}/data", "--user", "me")
    assert supervisor.main(*words) == exitcodes.USAGE
    assert "no system that could have a user or a name" in supervisor.err


def test_other_file_systems_are_filled_by_a_guest(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(path: str, fs: str, size: int, _label: str) -> None:
        Path(path).write_bytes(f"{fs} {size >> 20}".encode())

    def copy(_what: str, image: str, target: str, _fs: str) -> None:
        found = ext4.contents(image, "/x")
        Path(target).write_bytes(Path(target).read_bytes() + (found or b""))

    os.mkdir(f"{house}/tree")
    Path(f"{house}/tree/x").write_text(" x")
    monkeypatch.setattr(other_fs, "make", make)
    monkeypatch.setattr(image_guest, "copy", copy)
    made = build(supervisor, "a", f"{house}/tree", "--fs", "xfs", "--size", "400M")
    assert Path(made["path"]).read_bytes() == b"xfs 400 x"
    assert os.stat(made["path"]).st_mode & 0o777 == 0o600
    assert made["recipe"]["fs"] == "xfs"
    assert sorted(os.listdir(os.path.dirname(made["path"]))) == ["a.img", "a.toml", "lock"]


def test_script_that_a_guest_ran_is_in_what_is_built(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_what: str, image: str, script: str, place: str) -> None:
        assert ext4.contents(image, "/x") == b"x"
        Path(f"{place}/tree.tar").write_bytes(tar({"x": b"x", "made": Path(script).read_bytes()}))

    os.mkdir(f"{house}/tree")
    Path(f"{house}/tree/x").write_text("x")
    Path(f"{house}/script").write_text("true\n")
    monkeypatch.setattr(image_guest, "run_script", run)
    made = build(supervisor, "a", f"{house}/tree", "--run", f"{house}/script", "--size", "16M")
    assert ext4.contents(made["path"], "/made") == b"true\n"
    assert made["recipe"]["run"] == f"{house}/script"

    def lead_elsewhere(_what: str, _image: str, _script: str, place: str) -> None:
        Path(f"{house}/own.tar").write_bytes(tar({"own": b"x"}))
        os.symlink(f"{house}/own.tar", f"{place}/tree.tar")

    monkeypatch.setattr(image_guest, "run_script", lead_elsewhere)
    words = ("image", "build", "b", "--from", f"{house}/tree", "--run", f"{house}/script")
    assert supervisor.main(*words) == exitcodes.FAILED
    assert "has put something in the way" in supervisor.err
