"""The files for operators: what they say is what the settings and the server are."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from attention_atlas.app.meters import Meters
from attention_atlas.app.service import Service
from attention_atlas.app.settings import Settings

ROOT = Path(__file__).parent.parent
FILES = ROOT / "docs" / "operate"
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
OURS = {"XDG_CACHE_HOME", "HF_HOME", "PATH", "PYTHONDONTWRITEBYTECODE"}  # and the settings
Step = tuple[str, str]  # an instruction and its arguments


def steps(text: str) -> list[Step]:
    """The instructions of a Containerfile."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined)]


@pytest.fixture(scope="module")
def image() -> list[Step]:
    """The last stage: what runs."""
    every = steps((FILES / "Containerfile").read_text())
    last = max(i for i, (name, _) in enumerate(every) if name == "FROM")
    assert last > 1, "it has several stages"
    return every[last:]


@pytest.fixture(scope="module")
def environment(image: list[Step]) -> dict[str, str]:
    pairs = [pair.split("=", 1) for name, rest in image if name == "ENV" for pair in rest.split()]
    return dict(pairs)


def one(image: list[Step], instruction: str) -> str:
    [rest] = [rest for name, rest in image if name == instruction]
    return rest


def test_the_image_has_a_fixed_user_who_is_not_root(image: list[Step]) -> None:
    user = one(image, "USER")
    assert re.fullmatch(r"([1-9]\d{3,}):\1", user)
    assert any(f"--uid {user.split(':')[0]}" in rest for name, rest in image if name == "RUN")
    names = [name for name, _ in image]
    assert names.index("USER") < names.index("HEALTHCHECK") < names.index("CMD")


def test_the_image_opens_nothing_and_listens_to_all(environment: dict[str, str]) -> None:
    assert environment.keys() - OURS <= SETTINGS.keys()
    chosen = Settings(host=environment["HOST"], load_models=environment["LOAD_MODELS"])
    assert chosen.host == "0.0.0.0" and not chosen.is_local
    assert not chosen.may_open("org/name") and not chosen.opens


def test_ports_folders_and_commands_agree(image: list[Step], environment: dict[str, str]) -> None:
    assert one(image, "EXPOSE") == environment["PORT"] == str(SETTINGS["PORT"].default)
    assert environment["XDG_CACHE_HOME"] == one(image, "VOLUME")
    assert environment["HF_HOME"].startswith(one(image, "VOLUME"))
    command = json.loads(one(image, "CMD"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command == list(scripts), "exec form: the server is process 1 and gets SIGTERM"


def test_all_that_the_package_needs_is_copied() -> None:
    every = steps((FILES / "Containerfile").read_text())
    copied = {
        word
        for name, rest in every
        if name == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    folders = {name.split(".")[1] if "." in name else name for name in packages}
    assert folders | {"pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= copied
    assert all((ROOT / name).exists() for name in copied)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert kept[0] == "*" and {f"!{name}" for name in copied} <= set(kept)
    torch = next(each for each in project["project"]["dependencies"] if each.startswith("torch"))
    assert any(f'"{torch}"' in rest for _, rest in every), "the version that the package needs"


@pytest.fixture(scope="module")
def server(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The image's command in this environment, with its variables; all but the cache read-only."""
    cache = tmp_path_factory.mktemp("cache")
    values = {name: value for name, value in environment.items() if name in SETTINGS}
    values |= {"PORT": "0", "HOSTS": "", "MODELS": "gpt", "THREADS": "1"}
    values |= {"XDG_CACHE_HOME": str(cache), "HF_HOME": str(cache / "huggingface")}
    command = [sys.executable, "-m", "attention_atlas.app"]
    with subprocess.Popen(
        command, cwd="/", env=os.environ | values, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        texts = (json.loads(line).get("message", "") for line in process.stderr)
        ready = next(text for text in texts if "is ready" in text)
        yield f"http://127.0.0.1:{ready.rsplit(':', 1)[1]}", cache
        process.terminate()
        assert process.wait(timeout=60) is not None


def test_the_health_check_passes_where_the_server_runs(
    image: list[Step], server: tuple[str, Path]
) -> None:
    rest = one(image, "HEALTHCHECK").partition("CMD ")[2]
    program, *arguments = json.loads(rest)
    assert program == "python"
    here, gone = (
        [each.replace("http://127.0.0.1:8000", url) for each in arguments]
        for url in (server[0], "http://127.0.0.1:1")
    )
    assert subprocess.run([sys.executable, *here], capture_output=True).returncode == 0
    assert subprocess.run([sys.executable, *gone], capture_output=True).returncode != 0


def test_the_server_of_the_image_opens_nothing(server: tuple[str, Path]) -> None:
    body, headers = b'{"model": "org/name"}', {"content-type": "application/json"}
    request = urllib.request.Request(f"{server[0]}/api/v1/models", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    refused.value.close()


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((FILES / "compose.yaml").read_text())


def test_compose_keeps_the_server_inside(compose: Any, image: list[Step]) -> None:
    atlas, nginx = compose["services"]["atlas"], compose["services"]["nginx"]
    assert atlas["read_only"] is True and atlas["cap_drop"] == ["ALL"] and "ports" not in atlas
    assert atlas["user"] == one(image, "USER")
    assert atlas["volumes"][0].split(":")[1] == one(image, "VOLUME")
    assert nginx["depends_on"]["atlas"]["condition"] == "service_healthy"
    assert atlas["environment"].keys() <= SETTINGS.keys()
    [network] = compose["networks"].values()
    assert network["ipam"]["config"][0]["subnet"] == atlas["environment"]["TRUSTED_PROXIES"]
    assert (FILES / atlas["build"]["context"]).resolve() == ROOT
    assert (ROOT / atlas["build"]["dockerfile"]).exists()
    assert int(atlas["stop_grace_period"][:-1]) > SETTINGS["GRACEFUL_SECONDS"].default


def test_nginx_lets_pass_what_the_server_takes(compose: Any, environment: dict[str, str]) -> None:
    text = (FILES / "nginx.conf").read_text()
    assert compose["services"]["atlas"]["environment"]["HOSTS"] in text
    assert f"proxy_pass http://atlas:{environment['PORT']};" in text
    assert "proxy_buffering off;" in text and "X-Forwarded-For $remote_addr;" in text
    [megabytes] = re.findall(r"client_max_body_size (\d+)m", text)
    assert int(megabytes) * 1024 * 1024 >= SETTINGS["MAX_BODY"].default
    [kilobytes] = re.findall(r"large_client_header_buffers \d+ (\d+)k", text)
    assert int(kilobytes) * 1024 >= SETTINGS["MAX_ADDRESS"].default
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s", text)
    assert int(seconds) >= SETTINGS["OPEN_SECONDS"].default
    assert re.search(r"location = /metrics \{ return 404; \}", text)
    assert text.count("{") == text.count("}")


def test_the_systemd_unit_names_settings_and_waits_for_the_end() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    text = (FILES / "attention-atlas.service").read_text()
    unit.read_string(text)
    service = unit["Service"]
    pairs = re.findall(r"(?m)^Environment=(.*)$", text)
    named = dict(pair.split("=", 1) for line in pairs for pair in line.split())
    assert named.keys() - OURS <= SETTINGS.keys()
    assert named["LOAD_MODELS"] == "off" and named["HOST"] == "127.0.0.1"
    assert named["XDG_CACHE_HOME"] == f"/var/cache/{service['CacheDirectory']}"
    assert int(service["TimeoutStopSec"]) > SETTINGS["GRACEFUL_SECONDS"].default
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert "AF_UNIX" in service["RestrictAddressFamilies"], "the fork server's socket"


def test_every_metric_is_in_the_table() -> None:
    service = Service(Settings(models="gpt", threads=1))
    service.close()
    names = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in service.meters.registry.collect()
        if metric.name.startswith("attention_atlas")
    }
    named = set(re.findall(r"`(attention_atlas_\w+)`", (ROOT / "docs/operate.md").read_text()))
    assert names == named and len(names) > 10 and isinstance(service.meters, Meters)
