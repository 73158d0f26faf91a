"""Every setting, with its default and a line of help. Environment variables of the same name."""

from __future__ import annotations

import ipaddress
import os
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """HOST, PORT, DEVICE and so on; `attention-atlas --port 8001` sets one by hand."""

    model_config = SettingsConfigDict(cli_kebab_case=True, cli_prog_name="attention-atlas")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: str = Field("", description="cuda, mps or cpu; empty takes the first that is there")
    models: str = Field(
        "", description="models to load, by comma; empty loads the bundled ones, none no model"
    )
    model: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="another model to open: a Hub name or a folder; by comma, or given again"
    )
    load_models: str = Field(
        "",
        description="what the page may open: off, any, or patterns by comma; "
        "empty is any on loopback without proxies, else off",
    )
    open_token: SecretStr = Field(
        SecretStr(""),
        description="what must be sent to open a model, as a bearer token; the page asks for it",
    )
    hosts: str = Field(
        "",
        description="other names that requests may ask for, by comma; on loopback, the names of "
        "this machine are the only ones otherwise",
    )
    trusted_proxies: str = Field(
        "", description="addresses of proxies whose forwarded headers are believed, by comma"
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="path below which a proxy serves the app, like /atlas",
    )
    frame_ancestors: str = Field(
        "'self'", description="whose pages may embed these, as in Content-Security-Policy"
    )
    cors_origins: str = Field(
        "", description="whose scripts may read answers: origins by comma, or *; empty is off"
    )
    metrics: Literal["local", "any", "off"] = Field(
        "local", description="who may read /metrics: local is this machine, without proxies"
    )
    rate: float = Field(
        20, ge=0, description="requests a second of one client; 0 is no limit, as on loopback"
    )
    burst: int = Field(100, ge=1, description="requests of one client at once; then 429")
    max_models: int = Field(4, ge=2, description="models in memory beside the bundled")
    max_parameters: int = Field(
        2_000_000_000, ge=1, description="most parameters of a model that is opened"
    )
    open_seconds: float = Field(
        600, gt=0, description="for a model to be opened, downloading apart; then it is refused"
    )
    open_memory_mb: int = Field(
        0, ge=0, description="memory for opening a model, in MB; 0: by the size of its files"
    )
    workers: int = Field(2, ge=1, description="forward passes at a time")
    threads: int = Field(
        max(1, (os.cpu_count() or 2) // 2), ge=1, description="torch threads of one forward pass"
    )
    queue: int = Field(32, ge=0, description="requests that may wait for a worker; then 503")
    max_wait: float = Field(
        10,
        gt=0,
        description="seconds that a request may be expected to wait; then 503",
    )
    wait_share: float = Field(
        0,
        ge=0,
        description="longest wait, as a share of what such a request usually takes on a worker; "
        "then 503; 0 leaves it to MAX_WAIT",
    )
    cache_mb: int = Field(512, ge=0, description="memory for finished runs, in MB")
    max_characters: int = Field(20_000, ge=1, description="longest text taken, in characters")
    max_body: int = Field(1_000_000, ge=1, description="largest request body taken, in bytes")
    max_connections: int = Field(1000, ge=1, description="connections at a time; then 503")
    header_seconds: float = Field(15, gt=0, description="for a client to send its headers")
    max_record: int = Field(
        64_000_000, ge=1, description="largest file of attention that is sent, in bytes"
    )
    body_seconds: float = Field(30, gt=0, description="for a client to send its request body")
    send_seconds: float = Field(
        60, gt=0, description="for a client to read what it was sent; then it is disconnected"
    )
    graceful_seconds: int = Field(
        10, ge=0, description="for requests to finish when the server is stopped"
    )
    log_format: Literal["text", "json"] = Field("text", description="text, or json: a line each")
    log_queries: bool = Field(
        False, description="whether the log has query strings, and with them users' texts"
    )
    max_address: int = Field(250_000, ge=1000, description="longest address taken, in bytes")
    max_json_numbers: int = Field(
        1_000_000, ge=1, description="largest tensor answered as JSON or CSV, in numbers"
    )

    @field_validator("model", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """By comma in the environment; on the command line each --model has its own."""
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            return value
        return tuple(
            name.strip() for part in parts for name in str(part).split(",") if name.strip()
        )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def is_private(self) -> bool:
        """Whether only the people at this machine use the server: there is no proxy in front."""
        return self.is_local and not self.trusted_proxies

    def may_open(self, source: str) -> bool:
        """Whether the page may open a Hub name, or a folder by its whole path."""
        allowed = self.load_models.strip() or ("any" if self.is_private else "off")
        if allowed in ("off", "any"):
            return allowed == "any"
        return any(fnmatchcase(source, pattern.strip()) for pattern in allowed.split(","))

    @property
    def opens(self) -> bool:
        """Whether the page may open anything; with OPEN_TOKEN, for who has the token."""
        return self.load_models.strip() != "off" and (bool(self.load_models) or self.is_private)


def is_loopback(host: str) -> bool:
    """Whether an address or a name is of this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
