"""What is written to the log, how, and where else."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section, say


class Log(Section):
    """One line per event; STATE/log/fancymail.log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], say("The least important events that are written.")] = "info"
    format: Annotated[Literal["text", "json"], say("Lines for people (text) or for machines (json).")] = "text"
    console: Annotated[Literal["auto", "always", "never"], say(
        "Whether lines also go to standard error; auto: when it is a terminal.")] = "auto"
    file: Annotated[bool, say(
        "Whether lines go to STATE/log/fancymail.log; `false` suits a service manager that keeps a journal.")] = True
