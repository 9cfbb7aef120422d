from __future__ import annotations

from umlctl.backends import device_access
from umlctl.guest.command import AGENT
from umlctl.guest.confinement import STRICT, WRITES
from umlctl.guest.definition import Definition
from umlctl.host.landlock import CHANGE, EXECUTE, FileRule, Files
from umlctl.state.records import DeviceEntry, Hold
from umlctl.supervisor.launch import file_access

PLACES = file_access.Places(
    "/own/k", "/own/dev", "/own/dev-ro", "/own/shared", "/dev/shm/m", "/own/net", "/run/g/demo"
)
DISK = DeviceEntry(
    name="ubd1",
    asked="/disk",
    kernel="ubd1=/cow,/base",
    holds=[
        Hold(path="/cow", device=1, inode=1, write=True),
        Hold(path="/base", device=1, inode=2, write=False),
    ],
)
COMMAND = ["/usr/bin/linux", "mem=64M", "ubd1=/cow,/base"]


def guest(**fields: object) -> Definition:
    return Definition(umid="demo", kernel="/usr/bin/linux", **{"confine": WRITES, **fields})  # type: ignore[arg-type]


def allowed(definition: Definition, entries: list[DeviceEntry] | None = None) -> dict[str, Files]:
    """What may be done with each path by all rules for it."""
    found: dict[str, Files] = {}
    for path, rights in file_access.rules(definition, entries or [], COMMAND, PLACES):
        found[path] = found.get(path, Files(0)) | rights
    return found


def changed(rules: dict[str, Files]) -> set[str]:
    return {path for path, rights in rules.items() if rights & (CHANGE | Files.MAKE_CHAR)}


def test_kernel_writes_what_is_its_own_and_devices_that_are_nobodys() -> None:
    assert changed(allowed(guest())) == {
        "/own/k",
        "/own/dev",
        "/own/shared",
        "/own/net",
        "/dev/shm/m",
        *device_access.ALWAYS,
    }


def test_it_writes_its_disks_and_leaves_their_backing_files() -> None:
    rules = allowed(guest(), [DISK])
    assert rules["/cow"] & Files.WRITE_FILE
    assert not rules["/base"] & CHANGE
    assert rules["/base"] & Files.READ_FILE


def test_it_writes_the_directory_that_is_its_root_unless_that_is_to_read_only() -> None:
    assert "/srv/root/" in changed(allowed(guest(root="/srv/root/")))
    assert "/srv/root/" not in changed(allowed(guest(root="/srv/root/,ro")))


def test_it_writes_no_directory_that_an_overlay_is_over() -> None:
    over = guest(root="/srv/root/", overlay="memory", confine=STRICT)
    rules = allowed(over)
    assert "/srv/root/" not in changed(rules)
    assert file_access.written(over, []) == []
    assert {"/usr", "/etc", "/srv/root/"} <= set(file_access.readable(over))


def test_it_writes_what_was_given_to_be_written() -> None:
    rules = allowed(guest(rw=("/data",)))
    assert rules["/data"] & Files.MAKE_REG
    assert "/data" in file_access.written(guest(rw=("/data",)), [])


def test_plug_makes_its_socket_in_the_directory_of_its_switch_and_nothing_else() -> None:
    word = "vec0:transport=vde,vnl=vde:///sw"
    plugged = DeviceEntry(name="vec0", asked=word, kernel=word)
    for definition, entries in (
        (guest(), [plugged]),
        (guest(arguments=(word,)), []),
        (guest(append=(word,)), []),
    ):
        assert allowed(definition, entries)["/sw"] == Files.MAKE_SOCK | Files.REMOVE_FILE
        assert "/sw" in file_access.written(definition, entries)
        assert "/sw" in file_access.given(definition, entries, COMMAND)


def test_nobody_makes_device_nodes() -> None:
    rules = allowed(guest(root="/srv/root/", rw=("/data",)), [DISK])
    assert not any(rights & (Files.MAKE_CHAR | Files.MAKE_BLOCK) for rights in rules.values())
    assert file_access.handled(guest()) & Files.MAKE_CHAR


def test_reading_is_refused_to_the_strictly_confined_alone() -> None:
    assert not file_access.handled(guest()) & (Files.READ_FILE | Files.EXECUTE)
    assert file_access.handled(guest(confine=STRICT)) & Files.READ_FILE


def test_strictly_confined_one_reads_the_system_its_root_and_what_was_given() -> None:
    rules = allowed(guest(confine=STRICT, ro=("/books",), cwd="/work", root="host"), [DISK])
    assert "/work" not in rules, "it would be / for many"
    assert {"/usr", "/etc", "/books", "/cow", "/base", "/usr/bin/linux"} <= rules.keys()
    assert not {"/", "/home", "/root", "/var", "/tmp"} & rules.keys()
    assert not rules["/usr"] & CHANGE
    other = allowed(guest(confine=STRICT, root="/srv/root/", cwd="/work"))
    assert "/srv/root/" in other
    assert "/etc" not in other


def test_what_is_given_is_what_words_and_disks_name() -> None:
    given = file_access.given(guest(ro=("/books",), init="/bin/sh", cwd="/work"), [DISK], COMMAND)
    assert {"/cow", "/base", "/books", "/bin/sh", "/work", "/usr/bin/linux"} == set(given)


def test_initial_disk_is_given_however_it_was_asked_for() -> None:
    for word in ("initrd=/boot/i.gz", "initrd=i.gz"):
        command = [*COMMAND, word]
        assert "/boot/i.gz" in file_access.given(guest(cwd="/boot"), [], command)
        strict = guest(cwd="/boot", confine=STRICT)
        rules = file_access.rules(strict, [], command, PLACES)
        assert any(rule.path == "/boot/i.gz" for rule in rules)


def test_rules_are_for_landlock() -> None:
    assert all(
        isinstance(each, FileRule) for each in file_access.rules(guest(), [DISK], COMMAND, PLACES)
    )


def test_strictly_confined_one_reads_the_init_that_its_command_names_on_this_host() -> None:
    command = [*COMMAND, "init=/own/init"]
    rules = dict(file_access.rules(guest(confine=STRICT), [], command, PLACES))
    assert not rules["/own/init"] & CHANGE
    rules = dict(file_access.rules(guest(confine=STRICT, root="/tree/"), [], command, PLACES))
    assert "/own/init" not in rules


def test_strictly_confined_one_executes_what_helps_our_init() -> None:
    rules = dict(file_access.rules(guest(confine=STRICT), [], COMMAND, PLACES))
    for path in (f"{PLACES.guest}/init", f"{PLACES.guest}/agent", AGENT):
        assert rules[path] & EXECUTE
        assert not rules[path] & CHANGE


def test_strictly_confined_one_reads_its_modules_and_where_they_were_built() -> None:
    command = ["/tree/linux", "UMLCTL_MODULES=/cache/modules"]
    rules = dict(file_access.rules(guest(confine=STRICT), [], command, PLACES))
    assert not rules["/cache/modules"] & CHANGE
    assert not rules["/tree"] & CHANGE
    command = ["/tree/linux", "UMLCTL_OVERLAY_MODULE=/cache/overlay.ko"]
    rules = dict(file_access.rules(guest(confine=STRICT), [], command, PLACES))
    assert {"/cache/overlay.ko", "/tree"} <= rules.keys()


def test_shares_are_given_for_good_where_nothing_can_be_given_later() -> None:
    shared = guest(shares=("/a:/mnt", "/b,ro"))
    assert not {"/a", "/b"} & allowed(shared).keys()
    given = file_access.with_shares(shared)
    assert "/a" in changed(allowed(given))
    assert "/b" not in changed(allowed(given))
    assert {"/a", "/b"} <= set(file_access.readable(given))
