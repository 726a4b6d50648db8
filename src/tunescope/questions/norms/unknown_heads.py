"""Attention weights that no map of heads holds, and why: a layout is never guessed."""

from collections.abc import Iterator, Mapping, Sequence

from tunescope.delta import Delta
from tunescope.questions.norms.head_layouts import layout_of
from tunescope.questions.norms.heads import FUSED, Heads, blocks_of, known_heads, readable_config
from tunescope.source.opened import Source
from tunescope.words import named

# The label of a model -> why heads are not known -> the kinds of weight meant.
Unknown = Mapping[str, Mapping[str, Sequence[str]]]
_NOT_STATED = "no config.json states their numbers"
_STATED_BY = "--heads Q/KV states them, and so does a --base with its config.json"


def unknown_heads(sources: Sequence[Source], given: Heads | None) -> Unknown:
    """Of every source the kinds of attention weight whose heads are not known, by the reason."""
    found: dict[str, dict[str, list[str]]] = {}
    for source in sources:
        # A bias or a norm has no matrix that heads would divide.
        meant = [d for d in source.deltas if d.address.family == "attention" and d.d_in != 1]
        if reasons := _reasons(source, meant, known_heads(source, given)) if meant else {}:
            found[source.label] = {why: sorted(kinds) for why, kinds in reasons.items()}
    return found


def _reasons(source: Source, meant: Sequence[Delta], heads: Heads | None) -> Mapping[str, set[str]]:
    if heads is None:
        # One reason for all, which is looked up in a file.
        return {_why_none(source): {delta.address.component for delta in meant}}
    found: dict[str, set[str]] = {}
    for delta in meant:
        if not blocks_of(delta, heads):
            found.setdefault(_why_not(delta, heads), set()).add(delta.address.component)
    return found


def _why_none(source: Source) -> str:
    config = readable_config(source)
    parts = [config, config.get("text_config")]
    said = [part for part in parts if isinstance(part, Mapping)]
    if any(part.get("kv_lora_rank") or part.get("q_lora_rank") for part in said):
        return "latent attention has no heads in its weights"
    stated = any(name in part for part in said for name in ("num_attention_heads", "n_head", "n_heads"))
    return "the numbers of heads in the config do not divide each other" if stated else _NOT_STATED


def _why_not(delta: Delta, heads: Heads) -> str:
    if delta.address.component == FUSED and layout_of(heads.kind, heads.query, heads.key_value) is None:
        kind = f"of model_type {heads.kind}" if heads.kind else "of a model without model_type"
        return f"the layout {kind} is not known"
    of = f"{heads.query}/{heads.key_value} heads" + (f" of {heads.size}" if heads.size else "")
    return f"they are not divided into {of}"


def sentences(unknown: Unknown) -> Iterator[str]:
    """What is said of heads that are not known; models with the same share one sentence."""
    told: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for label, reasons in unknown.items():
        for why, kinds in reasons.items():
            told.setdefault((why, tuple(kinds)), []).append(label)
    for (why, kinds), labels in told.items():
        way = f": {_STATED_BY}" if why == _NOT_STATED else ""
        yield f"No heads known of {named(kinds, 6)} in {named(labels, 12)} ({why}){way}."
