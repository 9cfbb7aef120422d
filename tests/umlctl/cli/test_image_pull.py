from __future__ import annotations

import pytest

from umlctl.cli.image_pull import name_of


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("debian", "debian"),
        ("debian:latest", "debian"),
        ("docker://docker.io/library/debian:12-slim", "debian-12-slim"),
        ("example.org:5000/team/web", "web"),
        ("example.org/web:1@sha256:abc", "web-1"),
        ("docker-daemon:web:2", "web-2"),
    ],
)
def test_image_is_called_as_the_last_part_of_a_reference_and_its_tag(
    reference: str, name: str
) -> None:
    assert name_of(reference) == name
