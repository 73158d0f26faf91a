"""The Python client: the API's numbers, labelled; errors by field; events; what is kept."""

from __future__ import annotations

from typing import Any

import httpx2
import numpy as np
import pytest
from attention_atlas.app.main import create_app
from attention_atlas.app.settings import Settings

import attention_atlas as atlas
from attention_atlas.transport import InProcess, events_of

TEXT = "He sat on the river bank."


@pytest.fixture(scope="module")
def local(app) -> Any:
    with atlas.Client(app) as client:
        yield client


def test_attention_is_the_apis(local, get):
    answer = get("/attention", model="bert", text=TEXT, layer="1,2", head=3)
    attention = local.attention("bert", TEXT, layer=[1, 2], head=3)
    np.testing.assert_array_equal(attention.attn, np.array(answer["attn"], np.float32))
    np.testing.assert_array_equal(attention.mask, np.ones_like(attention.attn, bool))
    assert (attention.layers, attention.heads, attention.kind) == ((1, 2), (3,), "encoder")
    assert [token.raw for token in attention.query_tokens] == [
        token["raw"] for token in answer["q_tokens"]
    ]
    assert attention.provenance == answer["provenance"]


def test_a_selection_keeps_its_labels(local):
    whole = local.attention("bert", TEXT)
    part = whole.sel(layer=2, head=[5, 0], query="bank", key=4)
    np.testing.assert_array_equal(part.attn, whole.attn[2:3][:, [5, 0]][..., 6:7, 4:5])
    assert (part.layers, part.heads, part.queries, part.keys) == ((2,), (5, 0), (6,), (4,))
    assert part.sel(head=0).attn.item() == whole.attn[2, 0, 6, 4]
    [cell] = part.sel(head=5).top(3)
    assert cell == (2, 5, 6, "bank", 4, "the", pytest.approx(whole.attn[2, 5, 6, 4]))


def test_a_word_is_all_of_its_tokens(local):
    whole = local.attention("gpt", "he hesitantly sat")
    [*pieces] = whole.sel(query="hesitantly").query_tokens
    assert len(pieces) > 1 and "".join(token.text for token in pieces).strip() == "hesitantly"


def test_masked_cells_are_never_among_the_largest(local):
    whole = local.attention("gpt", "a b")
    cells = whole.sel(layer=0, head=0).top(100)
    assert len(cells) == 9 and sorted({(c.query, c.key) for c in cells if c.key <= c.query})
    values = [cell.value for cell in cells[:6]]
    assert values == sorted(values, reverse=True)
    assert all(cell.key <= cell.query for cell in cells[:6])


@pytest.mark.parametrize(
    "selection, message, field",
    [
        ({"layer": 9}, "no layer 9 here; there are 0, 1, 2, 3, 4, 5", "layer"),
        ({"query": "money"}, "no query token 'money' in: .CLS. He sat", "query"),
        ({"key": 99}, "no key 99 here: 0 to 8", "key"),
    ],
)
def test_what_is_not_there_is_named(local, selection, message, field):
    with pytest.raises(atlas.AtlasError, match=message) as problem:
        local.attention("bert", TEXT).sel(**selection)
    assert problem.value.field == field


def test_pandas_and_xarray_hold_the_same_numbers(local):
    attention = local.attention("gpt", "the river bank", layer=0)
    frame, named = attention.to_pandas(), attention.to_xarray()
    assert list(frame.columns) == [
        *("layer", "head", "query", "query_token", "key", "key_token", "attn")
    ]
    assert len(frame) == attention.mask.sum()
    for row in frame.itertuples():
        cell = named.sel(layer=row.layer, head=row.head, query=row.query, key=row.key)
        assert cell.item() == pytest.approx(row.attn, rel=1e-6)
    assert named.dims == ("layer", "head", "query", "key")


def test_metrics_states_and_predictions_are_the_apis(local, get):
    answer = get("/metrics", model="bert", text=TEXT)
    metrics = local.metrics("bert", TEXT)
    assert metrics.definitions == answer["definitions"]
    for name, values in answer["metrics"].items():
        np.testing.assert_array_equal(metrics.values[name], np.array(values, np.float32))
    layer, head, value = metrics.top("previous_token", 1)[0]
    assert value == metrics.values["previous_token"].max()
    assert metrics.to_pandas().loc[(layer, head), "previous_token"] == pytest.approx(value)
    states = local.hidden_states("bert", TEXT, word="bank")
    assert states.hidden.shape == (7, 384) and states.states[0] == "embedding"
    [best, *_] = local.fill_mask("bert", "Paris is the capital of [MASK].")[0]
    masks = get("/fill-mask", model="bert", text="Paris is the capital of [MASK].")["masks"]
    assert best.text == masks[0]["candidates"][0]["text"]
    assert local.next_token("gpt", "Once upon a")[0].probability > 0.1


def test_two_runs_are_compared(local):
    a, b = {"model": "bert", "text": TEXT}, {"model": "bert", "text": "The money bank."}
    comparison = local.compare(a, b, "bank")
    assert comparison.similarity.shape == (7,) and comparison.divergence.shape == (6, 12)
    assert "text_a=He+sat" in comparison.url


def test_no_edits_are_as_many_as_none(local):
    assert local.run("bert", "river bank", edits=[]) == local.run("bert", "river bank")


def test_edits_and_long_texts_are_sent_as_json(local):
    blocked = {"op": "block", "layer": 0, "head": 0, "query": 1, "key": 1}
    attention = local.attention("bert", TEXT, layer=0, head=0, edits=[blocked])
    assert attention.attn[0, 0, 1, 1] == 0
    long = "the bank of the river " * 60
    assert local.run("gpt", long).text == long
    run = local.run("translator", "hola amigo", target_ids=[5, 6])
    assert [token.id for token in run.target_tokens][1:] == [5, 6]


def test_events_come_in_order(local):
    with local.generate("gpt", "Once", max_new_tokens=3) as stream:
        names = [event.name for event in stream]
    assert names == ["start", "token", "token", "token", "result"]
    assert [event.name for event in local.translate("translator", "hola", max_new_tokens=1)][0] == (
        "start"
    )


def test_a_refusal_names_field_limit_and_value(local):
    with pytest.raises(atlas.AtlasError) as problem:
        local.attention("bert", TEXT, layer=6)
    error = problem.value
    assert (error.status, error.field, error.limit) == (422, "layer", 5)
    assert error.code == "out-of-range" and "bert has layers 0 to 5" in str(error)
    with pytest.raises(atlas.AtlasError, match="there is no model at /nowhere"):
        local.open_model("/nowhere")
    with pytest.raises(atlas.AtlasError, match="gpt has decoder attention"):
        local.generate("gpt", "Once", edits=[{"op": "ablate", "kind": "cross"}])
    with pytest.raises(atlas.AtlasError, match="there is nothing at this address"):
        local.get("/of-a-newer-version")


def test_the_page_of_a_result_shows_it(local, client):
    attention = local.attention("bert", TEXT, layer=2, head=3)
    page = client.get(attention.url.removeprefix(local.address).replace("?", ".json?", 1)).json()
    assert (page["model"], page["text"]) == ("bert", TEXT)
    assert (page["kind"], page["layer"], page["head"]) == ("encoder", 2, 3)


class Recording:
    """An app that answers as it is told, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append({key.decode(): value.decode() for key, value in scope["headers"]})
        status, headers, body = self.answers.pop(0)
        sent = [(key.encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})


def test_a_busy_server_is_asked_again():
    busy = 503, {"retry-after": "0"}, b'{"detail": "every worker is busy", "code": "busy"}'
    app = Recording(busy, busy, (200, {}, b'{"models": []}'))
    with atlas.Client(app) as client:
        assert client.models() == []
    assert len(app.asked) == 3
    with (
        atlas.Client(Recording(busy, busy), retries=1) as client,
        pytest.raises(atlas.AtlasError, match="every worker is busy") as problem,
    ):
        client.models()
    assert problem.value.status == 503


def test_what_has_not_changed_is_not_sent_again():
    first = 200, {"etag": 'W/"1"', "content-type": "application/json"}, b'{"models": [1]}'
    app = Recording(first, (304, {"etag": 'W/"1"'}, b""))
    with atlas.Client(app, token="secret") as client:
        assert client.models() == client.models() == [1]
    assert "if-none-match" not in app.asked[0]
    assert app.asked[1]["if-none-match"] == 'W/"1"'
    assert app.asked[0]["authorization"] == "Bearer secret"


def test_an_answer_that_is_no_problem_document_is_an_error_too():
    app = Recording((502, {}, b"<h1>Bad gateway</h1>"))
    with (
        atlas.Client(app) as client,
        pytest.raises(
            atlas.AtlasError, match="the server answered 502: <h1>Bad gateway"
        ) as problem,
    ):
        client.models()
    assert problem.value.status == 502


OLD = 200, {}, b'{"info": {"version": "0.2.0"}}'


@pytest.mark.parametrize(
    "answer, problem",
    [
        ((404, {}, b'{"detail": "Not Found"}'), "there is no /api/v1/run"),
        ((404, {}, b'{"detail": "nothing here", "code": "not-found"}'), "there is no /api/v1/run"),
        ((200, {}, b'{"model": "bert"}'), "the answer has no 'text'"),
    ],
)
def test_a_server_of_another_version_is_named(answer, problem):
    message = f"{problem}: http://127.0.0.1 runs Attention Atlas 0.2.0, this client is "
    with (
        atlas.Client(Recording(answer, OLD)) as client,
        pytest.raises(atlas.AtlasError, match=message) as error,
    ):
        client.run("bert", TEXT)
    assert error.value.code == "other-version" and atlas.__version__ in str(error.value)


def test_a_model_that_is_not_there_is_no_other_version(local):
    with pytest.raises(atlas.AtlasError) as error:
        local.model("nobody")
    assert error.value.status == 404 and error.value.code != "other-version"


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(atlas.AtlasError, match="no answer from http://127.0.0.1:9"):
        atlas.Client("http://127.0.0.1:9").models()


def test_a_server_that_goes_away_is_told(monkeypatch):
    def broken(response: httpx2.Response) -> Any:
        yield from ("event: start", "data: {}", "")
        raise httpx2.RemoteProtocolError("peer closed connection")

    monkeypatch.setattr(httpx2.Response, "iter_lines", broken)
    with atlas.Client(Recording((200, {}, b""))) as client:
        stream = client.generate("gpt", "Once")
        assert next(stream).name == "start"
        with pytest.raises(atlas.AtlasError, match="went away in the middle: peer closed"):
            next(stream)


def test_events_are_read_as_their_standard_says():
    lines = [": a comment", "event: token", 'data: {"a":', "data: 1}", "", 'data:{"b": 2}', "", "x"]
    assert list(events_of(lines)) == [("token", {"a": 1}), ("message", {"b": 2})]


def test_an_app_in_this_process_is_closed_with_its_thread():
    transport = InProcess(create_app(Settings(models="none")))
    client = httpx2.Client(transport=transport, base_url="http://127.0.0.1")
    assert client.get("/api/v1/models").json()["models"] == []
    client.close()
    assert not transport._thread.is_alive()
    transport.close()
