"""Devices and guests as people write them: what is taken is printed so that it is taken again."""

from __future__ import annotations

from umlctl.definitions import files, make
from umlctl.devices import mem, ubd
from umlctl.devices import parse as devices
from umlctl.errors import UsageError
from umlctl.guest import cmdline, specs
from umlctl.guest import definition as definitions
from umlctl.guest import written as writing
from umlctl.networks.forwards import parse_forward


def device(data: bytes) -> None:
    """`config DEVICE=...`; an input that begins with '!' insists."""
    text = data.decode("utf-8", "surrogateescape")
    insist = text.startswith("!")
    try:
        found = devices.parse(text.removeprefix("!"), insist=insist)
    except UsageError as problem:
        assert str(problem)
        return
    again = devices.parse(str(found), insist=insist)
    assert again == found, (found, again)
    assert hash(again) == hash(found)
    assert str(again) == str(found)
    assert devices.parse_name(found.name) == found.name
    if not isinstance(found, (ubd.Ubd, mem.Mem)):
        found.needs()


def device_name(data: bytes) -> None:
    """`remove DEVICE`."""
    try:
        name = devices.parse_name(data.decode("utf-8", "surrogateescape"))
    except UsageError:
        return
    assert devices.parse_name(name) == name


def disk(data: bytes) -> None:
    """`--disk`: in our words or the kernel's, from a directory or from none."""
    text = data.decode("utf-8", "surrogateescape")
    for base in ("", "/base"):
        try:
            found = specs.parse_disk(text, base)
        except UsageError:
            continue
        assert specs.parse_disk(str(found)) == found, str(found)
        assert found.device(found.slot or 0, found.cow).files


def nic(data: bytes) -> None:
    """`--nic`: in our words or the kernel's; an input that begins with '!' insists."""
    text = data.decode("utf-8", "surrogateescape")
    insist = text.startswith("!")
    try:
        found = specs.parse_nic(text.removeprefix("!"), insist=insist)
    except UsageError:
        return
    assert specs.parse_nic(str(found), insist=insist) == found, str(found)


def forward(data: bytes) -> None:
    """`--forward`."""
    try:
        found = parse_forward(data.decode("utf-8", "surrogateescape"))
    except UsageError:
        return
    assert parse_forward(str(found)) == found


def definition(data: bytes) -> None:
    """A guest, written down; what can be read has a command line, or an error that says why not."""
    try:
        found = definitions.decode(data)
    except UsageError:
        return
    assert definitions.decode(definitions.encode(found)) == found
    try:
        kernel = [_kernel(each) for each in definitions.devices(found)]
        line = cmdline.build(
            found, uml_dir="/k", notify="/n", init="/i", devices=kernel, wrapped=True
        )
    except UsageError:
        return
    assert f"umid={found.umid}" in line


def written(data: bytes) -> None:
    """A guest as its user wrote it down: read by the table of options, or told with its line."""
    try:
        values = writing.read(files.decoded("f", data), "f")
        values.pop(writing.EXTENDS, None)
        make.check(files.Written("web", "f", "", writing.anchored(values, "/d")))
    except UsageError as problem:
        assert str(problem).startswith("f:")
        return
    plain = {name: given.value for name, given in values.items()}
    again = writing.read(writing.write(plain), "f")
    assert {name: given.value for name, given in again.items()} == plain


def _kernel(asked: specs.Disk | specs.Nic) -> str:
    if isinstance(asked, specs.Disk):
        return str(asked.device(asked.slot or 0, asked.cow))
    return asked.text or "vec0:transport=tap,ifname=t"
