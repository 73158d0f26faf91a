"""The modules without DOM, imported in the browser that runs them."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Error, Page
from safetensors.numpy import save

from tests.addresses import ADDRESSES

WORDS = [None, "", "0", "a & b=c", "</script>", "שלום 猫 😀", "two\nlines", "%20+", " "]


@pytest.fixture
def js(page: Page) -> Any:
    """js(module, expression, argument): the expression sees the module as `m`."""
    page.goto("/healthz")

    def run(module: str, expression: str, argument: object = None) -> Any:
        code = (
            f"async (arg) => {{ const m = await import('/static/js/lib/{module}'); {expression} }}"
        )
        return page.evaluate(code, argument)

    return run


def container() -> bytes:
    attn = np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 1, 2, 3)
    mask = np.array([[[[True, False, True], [True, True, True]]]])
    small = np.array([[7, 255]], dtype=np.uint8)  # one odd size, so that offsets are not aligned
    metadata = {"kind": '"cross"', "q_tokens": '[{"raw": "</s>"}]'}
    return save({"small": small[:, :1], "mask": mask, "attn": attn}, metadata)


def test_wire_reads_what_safetensors_wrote(js: Any) -> None:
    result = js(
        "wire.js",
        """const {tensors, metadata} = m.decode(Uint8Array.from(arg).buffer);
        const plain = ({data, shape}) => ({data: Array.from(data), shape});
        const read = Object.entries(tensors).map(([name, t]) => [name, plain(t)]);
        return {...Object.fromEntries(read), metadata};""",
        list(container()),
    )
    assert result["attn"]["shape"] == [1, 1, 2, 3]
    assert result["attn"]["data"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert result["mask"] == {"data": [1, 0, 1, 1, 1, 1], "shape": [1, 1, 2, 3]}
    assert result["small"] == {"data": [7], "shape": [1, 1]}
    assert result["metadata"] == {"kind": "cross", "q_tokens": [{"raw": "</s>"}]}


def test_wire_names_a_dtype_it_does_not_know(js: Any) -> None:
    body = save({"attn": np.zeros((1, 1), dtype=np.float64)})
    with pytest.raises(Error, match="unknown dtype: F64"):
        js("wire.js", "m.decode(Uint8Array.from(arg).buffer);", list(body))


def test_at_is_a_view_of_the_leading_index(js: Any) -> None:
    code = """const t = m.tensor(Float32Array.from({length: 12}, (_, i) => i), [2, 2, 3]);
    const {data, shape} = m.at(t, 1, 0);
    return [Array.from(data), shape, data.buffer === t.data.buffer];"""
    assert js("tensor.js", code) == [[6, 7, 8], [3], True]


@pytest.mark.parametrize(
    ("index", "message"),
    [("2", r"index 2 is outside axis 0 of \[2,3\]"), ("0, -1", r"index -1 is outside axis 1")],
)
def test_at_refuses_what_is_outside(js: Any, index: str, message: str) -> None:
    with pytest.raises(Error, match=message):
        js("tensor.js", f"m.at(m.tensor(new Float32Array(6), [2, 3]), {index});")


def test_a_tensor_is_as_large_as_its_shape(js: Any) -> None:
    with pytest.raises(Error, match=r"5 numbers do not fill shape \[2,3\]"):
        js("tensor.js", "m.tensor(new Float32Array(5), [2, 3]);")


def test_the_colours_end_where_the_look_says(js: Any) -> None:
    result = js(
        "color.js", "return ['light', 'dark'].map((t) => [0, 1].map((a) => m.colorOf(a, t)))"
    )
    light, dark = result
    assert min(light[0]) > 245, "zero is paper"
    assert light[1] == pytest.approx([26, 31, 113], abs=3), "one is deep indigo"
    assert max(dark[0]) < 40, "zero is near-black"
    assert dark[1] == pytest.approx([150, 237, 255], abs=3), "one is pale cyan"


def test_colours_darken_with_attention(js: Any) -> None:
    code = "return Array.from({length: 101}, (_, i) => m.colorOf(i / 100, 'light')[1]);"
    greens = js("color.js", code)
    assert greens == sorted(greens, reverse=True)


def random_state(seed: int) -> dict[str, object]:
    pick = random.Random(seed).choice
    small = [None, 0, 1, 7, 511]
    return {
        "model": pick(["bert", "gpt", "a b&c"]),
        **{key: pick(WORDS) for key in ("text", "textPair", "target", "sourceLang", "targetLang")},
        "kind": pick([None, "encoder", "decoder", "cross"]),
        **{key: pick(small) for key in ("layer", "head", "query")},
        "side": pick(["query", "key"]),
        "view": pick(["lines", "matrix", "tokens", "anatomy", "table"]),
        "heads": pick(["", "0.0", "2.3,0.11,511.7"]),
        "queries": pick(["", "3", "0,7,511"]),
        "reduce": pick(["none", "mean_heads", "max_heads", "rollout"]),
        "quantity": pick(["attn", "scores"]),
        "top": pick([0, 1, 99]),
        "segments": pick(["all", "aa", "ab", "ba", "bb"]),
        "low": pick([0, 0.25, 1e-7]),
        "high": pick([1, 0.5, 0]),
        "scale": pick(["linear", "log"]),
        "metric": pick(["", "entropy", "previous_token", "special"]),
        "least": pick([0, 0.5, 3.25, 1e-7]),
        "lang": pick(["", "en", "zh"]),
        "threshold": pick([0, 0.05, 0.1, 1, 1e-7, 0.123456789]),
        "special": pick(["keep", "hide", "renormalise"]),
        "merge": pick(["none", "words"]),
        "theme": pick(["auto", "light", "dark"]),
    }


def test_every_state_comes_back_from_its_address(js: Any) -> None:
    states = [random_state(seed) for seed in range(500)]
    result = js("url.js", "return arg.map((state) => m.parse('?' + m.format(state)));", states)
    assert result == [{"state": state, "ignored": []} for state in states]


def test_nonsense_in_the_address_is_named(js: Any) -> None:
    nonsense = "?layer=-1&head=x&query=1.5&view=zzz&threshold=2&special=&theme=pink&text=ok"
    result = js("url.js", "return m.parse(arg);", nonsense)
    assert result["state"]["text"] == "ok"
    assert result["state"]["layer"] is None
    assert result["ignored"] == nonsense.removeprefix("?").removesuffix("&text=ok").split("&")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (" the", "the"),
        ("\n", "↵"),
        ("\t ", "⇥␣"),
        ("", "␣"),
        ("\u200b", "U+200B"),
        ("\u0301", "◌\u0301"),
        ("a\nb", "a↵b"),
        ("<b>", "<b>"),
    ],
)
def test_every_token_has_something_to_see(js: Any, text: str, seen: str) -> None:
    assert js("token.js", "return m.visible(arg);", {"text": text}) == seen


def test_the_numbers_of_a_head_are_those_of_the_definitions(js: Any) -> None:
    attn = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    code = """const t = {data: Float32Array.from(arg.flat()), shape: [3, 3]};
    return [m.entropy(t), m.distance(t), m.previousToken(t), m.firstToken(t)];"""
    assert js("metrics.js", code, attn) == pytest.approx([np.log(2) / 3, 0.5, 0.75, 0.5])


def test_the_newest_drawing_is_the_last_before_plotly_is_there_too(page: Page) -> None:
    """Twenty plots, each asked for twice while Plotly is still to come."""
    page.goto("/models")
    code = """async () => {
      const {heatmap} = await import('/static/js/lib/plot.js');
      const plots = Array.from({length: 20}, () =>
        document.body.appendChild(document.createElement("div")));
      const options = {qLabels: ["q"], kLabels: ["k"], name: "x", theme: "light", locked: null,
        range: {low: 0, high: 1, scale: "linear"}};
      const asked = [0, 1].flatMap((z) => plots.map((el) => heatmap(el, {...options, z: [[z]]})));
      await Promise.all(asked);
      return plots.map((el) => el.data[0].z[0][0]);
    }"""
    assert page.evaluate(code) == [1] * 20


def test_a_frame_has_all_that_its_type_says(js: Any) -> None:
    source = (Path(__file__).parents[2] / "static/js/lib/view.js").read_text("utf-8")
    declared = source.split("@typedef {Readonly<{\n")[1].split("}>} Frame")[0]
    types = re.sub(r"\{[^{}]*\}", "", re.sub(r", {2,}.*", ",", declared))
    names = re.findall(r"(\w+): ", types)
    assert js("view.js", "return Object.keys(m.frame({})).sort();") == sorted(set(names))
    one = js("view.js", "const r = {}; return m.frame({record: r, layer: 2, head: 1}).shown;")
    assert one == [{"layer": 2, "head": 1, "record": {}}]
    same = "const r = {}; return m.frame({record: r}).shown === m.frame({record: r}).shown;"
    assert js("view.js", same), "a view draws it anew only if it is another"


def test_the_browser_reads_and_keeps_addresses_of_040(js: Any) -> None:
    """Each address as it is, less what is the same when it is left out."""
    code = """const fields = {explore: m.EXPLORE, compare: m.COMPARE, masks: m.MASKS,
        positions: m.POSITIONS, arithmetic: m.ATTENTION, translate: m.TRANSLATE,
        generate: m.GENERATE, fill: m.FILL};
      return arg.map((address) => {
        const [path, search] = address.split("?");
        const page = fields[path.slice(1)];
        const {state, ignored} = m.parse(search, page);
        const kept = new URLSearchParams(m.format(state, page));
        const lost = [...new URLSearchParams(search)].filter(([name, value]) =>
          kept.get(name) !== value
          && `${Object.values(page).find((one) => one.name === name)?.initial}` !== value);
        return [...ignored, ...lost];
      }).flat();"""
    assert js("url.js", code, ADDRESSES) == []
