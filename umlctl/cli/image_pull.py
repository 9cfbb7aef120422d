"""`umlctl image pull`: an image of a container image that a registry has."""

from __future__ import annotations

from typing import Final

import click

from umlctl.cli import device_options
from umlctl.cli.image_build import build
from umlctl.cli.image_sources import STORES

_LATEST: Final = "latest"


@click.command(
    "pull",
    epilog="""\b
Examples:
  umlctl image pull debian:12-slim                       as debian-12-slim
  umlctl image pull registry.example.org/team/web web
  umlctl image pull docker-daemon:web                    of Docker on this host
""",
)
@click.argument("reference")
@click.argument("name", required=False)
@device_options.json_option
@click.pass_context
def pull(ctx: click.Context, reference: str, name: str | None, in_json: bool) -> int:
    """Build NAME from a container image that skopeo fetches from its registry.

    NAME is the last part of REFERENCE and its tag, unless given. The same with other options is
    `umlctl image build NAME --from docker://REFERENCE`. Who may fetch what, skopeo knows from
    `skopeo login`, `docker login` or `podman login`.
    """
    source = reference if reference.startswith(STORES) else f"{STORES[0]}{reference}"
    code: int = ctx.invoke(build, name=name or name_of(reference), source=source, in_json=in_json)
    return code


def name_of(reference: str) -> str:
    """What the image of a container image is called: `debian-12` for `docker.io/debian:12`."""
    for store in STORES:
        reference = reference.removeprefix(store)
    last = reference.partition("@")[0].rpartition("/")[2]
    name, _, tag = last.partition(":")
    return f"{name}-{tag}" if tag and tag != _LATEST else name
