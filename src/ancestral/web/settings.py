"""What `ancestral studio` is asked."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from ancestral.jobs.settings import Typed
from ancestral.settings import Settings

PORT = 8711
"""Taken where none is asked for and it is free."""


class StudioSettings(Settings):
    """One page on all runs under a folder is served."""

    folder: Annotated[Path, Typed("FOLDER", nargs="?")] = Path("runs")
    """where runs lie, and new ones go; made where it is missing [runs]"""
    data: Annotated[tuple[Path, ...], Typed("FOLDER", repeated=True)] = ()
    """the page may train on what lies in this folder; several times: in each"""
    port: Annotated[Annotated[int, Field(ge=1, le=65535)] | None, Typed("N", usual=f"{PORT}, or another free one")] = (
        None
    )
    """where the page is"""
    host: Annotated[str, Typed("ADDRESS")] = "127.0.0.1"
    """address of this machine to listen on; any but its own loopback needs --others-may-reach-it"""
    others_may_reach_it: bool = False
    """say that you want other machines to reach the page: who has its address may use this machine, and nothing that
    is sent is encrypted"""
    socket: Annotated[Path | None, Typed("PATH")] = None
    """listen on a Unix socket, which no other user may open, in place of an address"""
    no_browser: bool = False
    """print the address alone"""
    stop_trainings: bool = False
    """at the end, stop the trainings that the page began, once they have saved; without it they go on"""

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        try:
            address = ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            raise ValueError(f"expected an address such as 127.0.0.1 or 192.168.1.5, got {host!r}") from None
        if address.is_unspecified:
            raise ValueError(f"expected one address of this machine, got {host}, which stands for all of them")
        return str(address)

    @model_validator(mode="after")
    def _is_meant(self) -> "StudioSettings":
        if not ip_address(self.host).is_loopback and not self.others_may_reach_it:
            raise ValueError(
                f"expected a loopback address, got {self.host}, by which other machines reach the page and, with the "
                "token in its address, use this one; add --others-may-reach-it if that is meant"
            )
        if self.socket is not None and (self.port is not None or self.host != "127.0.0.1"):
            raise ValueError("expected --socket or an address, got both; leave one of them out")
        return self
