"""What whole heads look like on a sentence: every row shared out, and heads that have a name."""

from __future__ import annotations

from dataclasses import replace

from attention_atlas.app.learn.figures import Numbers, Panel
from attention_atlas.app.learn.heads import looked
from attention_atlas.app.learn.layers import KIND_NAMES
from attention_atlas.app.learn.measures import WORD
from attention_atlas.app.learn.squares import Pattern, Sharing, patterns, shared
from attention_atlas.app.learn.tasks import address_of, page_of
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.observations import Place, words
from attention_atlas.model.analysis.roles import HeadRole, roles_of_card
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Selection
from attention_atlas.model.spec import Spec
from attention_atlas.model.words import merged

MOST = 20  # rows of a drawing
ROLES = {
    "previous_token": Message("role", "previous token"),
    "next_token": Message("role", "next token"),
    "self": Message("role", "itself"),
    "first_token": Message("role", "first token"),
    "special": Message("role", "special tokens"),
    "induction": Message("role", "after its copy"),
    "alignment": Message("role", "its translation"),
    "relation": Message("role", "grammar"),
    "positional": Message("role", "fixed offset"),
}
MODELS = ("bert", "gpt", "translator")


def every_row(service: Service, panel: Panel, text: str) -> Numbers:
    """The shares of every query word of the sentence in one head, and their sum."""
    look = looked(service, replace(panel, takes_any=True), text, looked_head(service, panel))
    kind, layer, head = look.head_place
    with service.lent(panel.model, text=text) as loaded:
        selection = Selection("attn", kind, (layer,), (head,))
        run, record = service.record(loaded, Spec(text), selection)
        q, k = words(run, record)
        by_word = merged(record.attn, [w.tokens for w in q], [w.tokens for w in k])[0, 0]
    rows = by_word.tolist()
    names = [w.text for w in k]
    tops = [max(range(len(row)), key=row.__getitem__) for row in rows]
    start = max(0, min(look.number - MOST // 2, len(rows) - MOST))
    drawn = [
        Sharing(w.text, row, i == look.number)
        for i, (w, row) in enumerate(zip(q, rows, strict=True))
    ][start : start + MOST]
    table = tuple(
        (w.text, names[top], row[top], sum(row)) for w, row, top in zip(q, rows, tops, strict=True)
    )
    columns = (
        WORD,
        Message("column", "looks most at"),
        Message("column", "largest share"),
        Message("column", "sum of all shares"),
    )
    values = {"query": look.word, "top": look.top.word, "attn": f"{look.top.attn:.2f}"}
    values |= {"head": f"L{layer} H{head}", "n": str(len(names))}
    place = {"model": panel.model, "text": text, "kind": kind, "layer": layer, "head": head}
    holds = all(abs(sum(row) - 1) < 1e-3 for row in rows)
    return Numbers(
        columns,
        table,
        address_of("attention", **place, merge="words"),
        page_of("explore", **place, query=look.query, view="table"),
        values,
        holds,
        drawing=shared(drawn, names),
    )


def looked_head(service: Service, panel: Panel) -> Place:
    return looked(service, panel, panel.text).head_place


def named_heads(service: Service, text: str, translated: str) -> Numbers:
    """The strongest head of each role, over the bundled models, by their cards, on a sentence."""
    ranked = sorted(_best(service).items(), key=lambda item: -item[1][1].score)
    rows, drawn = [], []
    for role, (model, best) in ranked:
        name = f"{model} L{best.layer} H{best.head}"
        attn = _attention(service, model, best, translated if best.kind == "cross" else text)
        drawn.append(Pattern(ROLES[role], name, best.score, attn))
        rows.append((name, KIND_NAMES[best.kind], ROLES[role], best.score))
    columns = (
        Message("column", "head"),
        Message("column", "which attention"),
        Message("column", "looks at"),
        Message("column", "score"),
    )
    values = {"n": str(len(rows)), "best": f"{ranked[0][1][1].score:.2f}"}
    return Numbers(
        columns,
        tuple(rows),
        "/api/v1/models",
        "/models",
        values,
        len(rows) >= 3,
        drawing=patterns(drawn),
    )


def _best(service: Service) -> dict[str, tuple[str, HeadRole]]:
    best: dict[str, tuple[str, HeadRole]] = {}
    for model in MODELS:
        with service.lent(model) as loaded:
            for role in roles_of_card(loaded.card.heads, loaded.card.metrics, loaded.family):
                if role.role not in best or role.score > best[role.role][1].score:
                    best[role.role] = (model, role)
    return best


def _attention(service: Service, model: str, role: HeadRole, text: str) -> list[list[float]]:
    """The head's attention, token by token."""
    with service.lent(model, text=text) as loaded:
        selection = Selection("attn", role.kind, (role.layer,), (role.head,))
        _, record = service.record(loaded, Spec(text), selection)
    return record.attn[0, 0].tolist()
