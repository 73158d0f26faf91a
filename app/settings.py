"""Every setting, with its default and a line of help. Environment variables of the same name."""

from __future__ import annotations

import os

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """HOST, PORT, DEVICE and so on; `attention-atlas --port 8001` sets one by hand."""

    model_config = SettingsConfigDict(cli_kebab_case=True, cli_prog_name="attention-atlas")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: str = Field("", description="cuda, mps or cpu; empty takes the first that is there")
    models: str = Field("", description="bundled models to load, by comma; empty loads all")
    workers: int = Field(2, ge=1, description="forward passes at a time")
    threads: int = Field(
        max(1, (os.cpu_count() or 2) // 2), ge=1, description="torch threads of one forward pass"
    )
    queue: int = Field(32, ge=0, description="requests that may wait for a worker; then 503")
    cache_mb: int = Field(512, ge=0, description="memory for finished runs, in MB")
    max_characters: int = Field(20_000, ge=1, description="longest text taken, in characters")
    max_body: int = Field(1_000_000, ge=1, description="largest request body taken, in bytes")
    max_json_numbers: int = Field(
        1_000_000, ge=1, description="largest tensor answered as JSON or CSV, in numbers"
    )
