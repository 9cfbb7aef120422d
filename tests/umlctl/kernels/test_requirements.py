from __future__ import annotations

import pytest

from umlctl.kernels import requirements
from umlctl.kernels.find import ProbedKernel

PLAIN = ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y", "NFS_FS": "m"})
ABLE = PLAIN._replace(
    config={"ROOT_NFS": "y", "UML_PCI_OVER_VFIO": "y", "VIRTIO_UML": "m"}, version="7.2.7"
)
PCI = "vfio_uml.device=0000:00:1f.6"
SERVED = "virtio_uml.device=/s:26"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["root=/dev/nfs"], "root=/dev/nfs takes CONFIG_ROOT_NFS, and /linux (6.1.176) was built"),
        (["quiet", 'root="/dev/nfs"'], "give an --initrd that mounts it"),
        ([PCI], f"{PCI} takes CONFIG_UML_PCI_OVER_VFIO"),
        ([PCI], "Linux has it since 6.16"),
        ([SERVED], "takes CONFIG_VIRTIO_UML"),
        (
            ["vec0:mtu=1500,transport=vde,vnl=vxvde://"],
            "vde takes Linux 6.12, and /linux is 6.1.176",
        ),
        (["transport=vde,vnl=vxvde://,nic=0"], "vde takes Linux 6.12"),
    ],
)
def test_what_the_kernel_lacks_is_named_with_what_helps(words: list[str], said: str) -> None:
    assert said in requirements.lacking(PLAIN, words, initrd=False)
    assert requirements.lacking(ABLE, words, initrd=False) == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("eth0=daemon", ""),
        ("eth0=ucast,,10.0.0.1", ""),
        ("eth1=vde,/sw", "it has daemon, mcast of that kind; --nic switch=NAME"),
        ("ethernet=x", ""),
    ],
)
def test_interface_of_the_old_kind_is_one_that_the_kernel_has(word: str, said: str) -> None:
    symbols = {"UML_NET_DAEMON": "y", "UML_NET_MCAST": "y"}
    old = PLAIN._replace(options=frozenset({"eth"}), config=symbols)
    found = requirements.lacking(old, [word], initrd=False)
    assert said in found
    assert bool(said) == bool(found)


def test_kernel_without_old_interfaces_has_others() -> None:
    said = requirements.lacking(ABLE, ["eth0=vde,/sw"], initrd=False)
    assert "/linux (7.2.7) was built without: it has no interface of that kind" in said
    assert "--nic user need none" in requirements.lacking(ABLE, ["eth0=daemon"], initrd=False)


def test_kernel_that_is_older_than_a_transport_has_another() -> None:
    word = "vec0:transport=vde,vnl=vde:///sw"
    old = PLAIN._replace(config={"UML_NET_VDE": "y"})
    assert "eth0=vde,DIRECTORY there, or" in requirements.lacking(old, [word], initrd=False)
    unknown = PLAIN._replace(version="")
    assert requirements.lacking(unknown, [word], initrd=False) == ""


def test_kernel_that_does_not_say_what_it_can_is_not_refused() -> None:
    silent = PLAIN._replace(config={})
    assert requirements.lacking(silent, ["root=/dev/nfs", PCI], initrd=False) == ""


def test_initial_disk_mounts_what_the_kernel_cannot() -> None:
    assert requirements.lacking(PLAIN, ["root=/dev/nfs"], initrd=True) == ""
    assert requirements.lacking(PLAIN, ["root=/dev/nfs", PCI], initrd=True) != ""


def test_other_words_ask_for_nothing() -> None:
    words = ["root=/dev/ubda", "nfsroot=/x", "vfio=1", "--", "root=/dev/nfs", PCI]
    assert requirements.lacking(PLAIN, words, initrd=False) == ""
