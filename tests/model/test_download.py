"""Models fetched by name, from a Hub of our own: files, bytes, and what is refused before."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests import saved, spoilt

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Its own process: huggingface_hub reads where the Hub is, and whether to ask it, when imported.
SCRIPT = """
import json, sys
import torch
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.reasons import BadModel
from attention_atlas.model.hub.opening import open_model

for name, limits in json.loads(sys.argv[1]):
    steps = []
    try:
        found = open_model(name, torch.device("cpu"), Limits(**limits), steps.append)
        said = {"name": found.name, "source": found.source, "tasks": found.tasks}
    except BadModel as error:
        said = {"reason": error.reason, "message": error.message}
    print(json.dumps({**said, "steps": [[s.stage, s.file, s.bytes, s.total] for s in steps]}))
"""


class Hub(BaseHTTPRequestHandler):
    """The few answers of the Hub that are needed: a model's list of files, and the files."""

    repositories: dict[str, Path] = {}
    asked: list[str] = []

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(path)
        for name, folder in self.repositories.items():
            if path.startswith(f"/api/models/{name}"):
                return self._listed(name, folder)
            if path.startswith(f"/{name}/resolve/"):
                return self._file(folder / "/".join(path.split("/")[5:]))
        error = "GatedRepo" if "gated" in path else "RepoNotFound"
        self._answer(403 if "gated" in path else 404, b"{}", {"X-Error-Code": error})

    do_HEAD = do_GET

    def _listed(self, name: str, folder: Path) -> None:
        files = [
            {
                "rfilename": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "blobId": "0" * 40,
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        self._answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": files}).encode())

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self._answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = saved.bert(tmp_path_factory.mktemp("hub") / "bert")
    (folder / "README.md").write_text("not fetched")
    pickled = saved.bert(tmp_path_factory.mktemp("hub") / "old")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    several = saved.bert(tmp_path_factory.mktemp("hub") / "several")
    (several / "model.safetensors").rename(several / "model-1-of-1.safetensors")
    parts = {"metadata": {}, "weight_map": {"a": "model-1-of-1.safetensors"}}
    (several / "model.safetensors.index.json").write_text(json.dumps(parts))
    talkative = saved.bert(tmp_path_factory.mktemp("hub") / "talkative")
    with (talkative / "notes.txt").open("wb") as file:
        file.truncate(300_000_000)  # takes no place on the disk
    for other in (folder, several):
        (other / "other.safetensors").write_bytes(b"another model's")
    packed = tmp_path_factory.mktemp("hub")
    for name in ("Q4.gguf", "Q8.gguf"):
        (packed / name).write_bytes(b"GGUF")
    one = tmp_path_factory.mktemp("hub")
    (one / "Q4.gguf").write_bytes(b"GGUF")
    coded = saved.bert(tmp_path_factory.mktemp("hub") / "coded")
    saved.changed(coded, auto_map={"AutoModel": "mine.Mine"}, architectures=["Mine"])
    adapter, orphan, sentences, pictures = (
        saved.bert(tmp_path_factory.mktemp("hub") / name)
        for name in ("lora", "orphan", "old", "pictures")
    )
    spoilt.adapter_alone("org/bert")(adapter)
    spoilt.adapter_alone("org/nothing")(orphan)
    spoilt.both(spoilt.inside("0_BERT", "1_Pooling"), spoilt.modules("0_BERT"))(sentences)
    spoilt.both(spoilt.inside("unet", "text_encoder"), spoilt.written("model_index.json", "{}"))(
        pictures
    )
    Hub.repositories = {"org/lora": adapter, "org/sentences": sentences, "org/pictures": pictures}
    Hub.repositories |= {"org/orphan": orphan}
    Hub.repositories |= {"org/bert": folder, "org/old": pickled, "org/coded": coded}
    Hub.repositories |= {"org/several": several, "org/talkative": talkative}
    Hub.repositories |= {"org/packed": packed, "org/one": one}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


Asked = tuple[str, dict[str, int]]  # a name and limits


def opened(asked: list[Asked], address: str, home: Path) -> list[Any]:
    """What opening each model says, by a process whose Hub and cache are these."""
    env = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def opened_by_name(names: list[str], address: str, home: Path) -> dict[str, Any]:
    return dict(zip(names, opened([(name, {}) for name in names], address, home), strict=True))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def fetched(address: str, home: Path) -> dict[str, Any]:
    """What opening says with an empty cache; each process imports transformers, so it is one."""
    return opened_by_name(
        ["org/bert", "org/several", "org/one", "org/sentences", "org/lora"], address, home
    )


@pytest.fixture(scope="module")
def offline(fetched: dict[str, Any], home: Path) -> dict[str, Any]:
    """What it says afterwards, where no Hub answers."""
    nobody = "http://127.0.0.1:9"
    return opened_by_name(["org/bert", "org/other", "org/sentences", "org/lora"], nobody, home)


def test_a_model_is_fetched_once_and_told_file_by_file(
    fetched: dict[str, Any], offline: dict[str, Any]
) -> None:
    result = fetched["org/bert"]
    assert (result["name"], result["source"], result["tasks"]) == ("org/bert", "hub", ["fill-mask"])
    fetching = [step for step in result["steps"] if step[0] == "downloading"]
    files = list(dict.fromkeys(file for _, file, _, _ in fetching))
    assert files[0] == "config.json", "what a model is comes first"
    assert "model.safetensors" in files and "tokenizer.json" in files
    assert not {"README.md", "pytorch_model.bin", "other.safetensors"} & set(files)
    done = [n for _, _, n, _ in fetching]
    assert done == sorted(done) and done[-1] <= fetching[-1][3]

    again, other = offline["org/bert"], offline["org/other"]
    assert again["name"] == "org/bert", "what was fetched is found without the Hub"
    assert other["reason"] == "offline"
    assert "org/other was not fetched before" in other["message"]


def test_of_several_files_those_of_the_index_are_fetched(fetched: dict[str, Any]) -> None:
    several, one = fetched["org/several"], fetched["org/one"]
    files = list(dict.fromkeys(file for _, file, _, _ in several["steps"] if file))
    assert files[:2] == ["config.json", "model.safetensors.index.json"]
    assert "model-1-of-1.safetensors" in files and "other.safetensors" not in files
    assert several["tasks"] == ["fill-mask"]
    assert ["downloading", "Q4.gguf", 4, 4] in one["steps"], "a single GGUF file is taken"
    assert (one["reason"], "Q4.gguf cannot be read" in one["message"]) == ("damaged", True)


def test_the_old_layout_of_sentence_transformers_opens(
    fetched: dict[str, Any], offline: dict[str, Any]
) -> None:
    """The folder that modules.json names is fetched, and no other; offline it is found again."""
    result = fetched["org/sentences"]
    assert (result["name"], result["source"]) == ("org/sentences", "hub")
    files = list(dict.fromkeys(file for _, file, _, _ in result["steps"] if file))
    assert files[:2] == ["modules.json", "0_BERT/config.json"]
    assert "0_BERT/model.safetensors" in files and "1_Pooling/model.safetensors" not in files
    assert offline["org/sentences"]["name"] == "org/sentences"


def test_an_adapter_is_fetched_and_opened_with_its_base(
    fetched: dict[str, Any], offline: dict[str, Any]
) -> None:
    for result in (fetched["org/lora"], offline["org/lora"]):
        assert (result["name"], result["source"]) == ("org/lora", "hub")
        assert result["tasks"] == ["fill-mask"]
    files = {file for _, file, _, _ in fetched["org/lora"]["steps"]}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files


REFUSED: list[tuple[Asked, str, str]] = [
    (("org/nothing", {}), "not-found", "the Hub has no model org/nothing, or it is private"),
    (("org/gated", {}), "not-found", "is open only to those whom its owner lets in"),
    (("org/old", {}), "no-safetensors", "org/old on the Hub has no model.safetensors: only pyto"),
    (("org/orphan", {}), "unsupported", "org/orphan is an adapter (LORA) for org/nothing, with"),
    (("org/pictures", {}), "not-text", "what reads text in it is text_encoder: name that folder"),
    (("org/packed", {}), "no-safetensors", "and 2 GGUF files: download one of them"),
    (("org/talkative", {}), "too-large", "bytes beside its weights; at most 200,000,000 are"),
    (("org/coded", {}), "remote-code", "brings its own Python code"),
    (("org/bert", {"parameters": 1000}), "too-large", "at most 1,000 are taken"),
    (("org/bert", {"memory": 1000}), "no-memory", "GB of memory are free"),
]


def test_why_not_is_known_before_the_weights_are_fetched(address: str, tmp_path: Path) -> None:
    Hub.asked.clear()
    result = opened([request for request, _, _ in REFUSED], address, tmp_path)
    assert [text["reason"] for text in result] == [reason for _, reason, _ in REFUSED]
    for text, (_, _, message) in zip(result, REFUSED, strict=True):
        assert message in text["message"]
    assert not [
        path
        for path in Hub.asked
        if path.endswith((".safetensors", ".bin", ".py", ".gguf", "notes.txt"))
        and "adapter_model" not in path
    ]
