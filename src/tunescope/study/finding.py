"""A finding is data: what was found, where, the numbers with the threshold they crossed, one sentence."""

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tunescope.errors import Notice
from tunescope.words import named

Severity = Literal["warning", "note"]
# What the evidence of every finding has, `null` where no test was made.
EVIDENCE = ("statistic", "value", "threshold", "null", "p", "n")


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding about some models, all of whose numbers stand in `evidence`.

    `models` are labels, `components` the names of the weights meant (none: the whole), `step` an optimizer
    step. `evidence` has `statistic, value, threshold, null, p, n`, as far as a test was made, and what more
    the text rests on. `strength` orders findings of one severity: it is larger for a larger effect.
    """

    kind: str
    text: str
    models: tuple[str, ...]
    components: tuple[str, ...] = ()
    step: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "note"
    strength: float = 0.0

    def record(self) -> dict[str, Any]:
        """The finding as plain JSON types."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "models": list(self.models),
            "components": list(self.components),
            "step": self.step,
            "evidence": {**dict.fromkeys(EVIDENCE), **self.evidence},
            "strength": float(self.strength),
            "text": self.text,
        }


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """What may be wrong with the data first, then the strongest; equals keep their order.

    >>> weak, strong = Finding("a", "", ("m",), strength=1.1), Finding("b", "", ("m",), strength=3.0)
    >>> wrong = Finding("untrained", "", ("m",), severity="warning")
    >>> [finding.kind for finding in ordered([weak, wrong, strong])]
    ['untrained', 'b', 'a']
    """
    return sorted(findings, key=lambda f: (f.severity != "warning", -f.strength))


def merged(
    findings: Iterable[Finding],
    fact: Callable[[Finding], Hashable],
    tell: Callable[[Sequence[Finding]], str],
) -> list[Finding]:
    """One finding for each fact: those with an equal `fact` become one, with the text that `tell` gives them.

    It names the models and components of all, is as severe as the most severe of them, and carries the
    evidence of the strongest with that of every model under `each`, there with its own `cells` where they
    are not those of all. A fact of a single finding is left as it is.
    """
    groups: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(fact(finding), []).append(finding)
    return [group[0] if len(group) == 1 else _together(group, tell(group)) for group in groups.values()]


def _together(group: Sequence[Finding], text: str) -> Finding:
    strongest = max(group, key=lambda f: f.strength)
    steps = {finding.step for finding in group}
    names = dict.fromkeys(name for finding in group for name in finding.components)
    return Finding(
        strongest.kind,
        text,
        tuple(dict.fromkeys(label for finding in group for label in finding.models)),
        tuple(names),
        step=steps.pop() if len(steps) == 1 else None,
        evidence={**strongest.evidence, "each": {" · ".join(f.models): _own(f, names) for f in group}},
        severity="warning" if any(f.severity == "warning" for f in group) else "note",
        strength=strongest.strength,
    )


def _own(finding: Finding, names: Collection[str]) -> dict[str, Any]:
    """The evidence of one of several findings, with its components where they are not all of `names`."""
    own = dict(finding.evidence)
    return own if len(set(finding.components)) == len(names) else own | {"cells": list(finding.components)}


def listed(parts: Sequence[str], last: str) -> str:
    """Parts of a sentence in a row.

    >>> listed(["a", "b", "c"], "or"), listed(["a"], "or")
    ('a, b or c', 'a')
    """
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def least_found(effects: Sequence[str]) -> str:
    """The sentence on what could have been seen where nothing was.

    >>> least_found(["a third 1.3× another", "a weight 4× its layer"])
    ' Smallest that would have been found, nine times in ten: a third 1.3× another or a weight 4× its layer.'
    """
    return f" Smallest that would have been found, nine times in ten: {listed(effects, 'or')}."


def too_little_known(effects: Sequence[str]) -> str:
    """The sentence on what could not have been told, whatever its size.

    >>> too_little_known(["layers that stop", "jumps (captures too few)"])
    ' Too little is known here to tell of layers that stop or jumps (captures too few).'
    """
    return f" Too little is known here to tell of {listed(effects, 'or')}."


def because(effect: str, reason: str | None) -> str:
    """What could not be told, with the reason in brackets where one is known.

    >>> because("jumps", None), because("jumps", "captures too few")
    ('jumps', 'jumps (captures too few)')
    """
    return effect if reason is None else f"{effect} ({reason})"


def factor(value: float) -> str:
    """A factor no finer than estimates of it are: hundredths below 2, two digits above.

    >>> factor(1.337), factor(2.66), factor(50.61)
    ('1.34', '2.7', '51')
    """
    return f"{value:.2f}" if value < 2 else significant(value, 2)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with three significant digits, or `n/a`.

    >>> significant(0.0012345), significant(None), significant(1234.5)
    ('0.00123', 'n/a', '1.23e+03')
    """
    return "n/a" if value is None or value != value else f"{value:.{digits}g}"


# Kinds of what is noticed while reading, which every command may raise: the notices' slugs with `_` for `-`.
NOTICED = frozenset({
    "adapter_name", "alpha_zero", "bad_metadata", "base_name", "batch_larger_than_data",
    "blocks_one_by_one", "capture_unfinished", "code_not_run", "config_default", "config_unread", "data_cut",
    "data_keys_unread", "data_left_out", "data_rejected", "empty_tensor", "factor_left_out", "few_sequences",
    "float8", "fused_beside_parts", "graphs_replayed", "half_saved", "half_written", "hash_unknown",
    "head_by_head", "header_space", "last_left_out", "layers_unused", "left_out", "model_around",
    "model_length", "needs_base", "no_change", "no_cuda", "no_delta", "no_index", "names_changed",
    "no_trainer_state", "not_in_index", "not_understood",
    "published_norms", "rank_mismatch",
    "rows_of_diffsynth", "rows_of_llama_cpp", "rows_of_torchtune", "salvaged", "saved_twice",
    "scale_not_used", "scale_replaced", "scale_unknown",
    "sequences_skipped", "settings_changed", "shapes_differ", "sides_unknown",
    "start_beside", "start_missing", "start_renamed", "step_mismatch", "steps_begin_anew", "steps_missing",
    "stopped_early", "targets_differ", "tied_head",
    "torchtune_export", "training_mode", "turns_without_end", "unfinished_download", "unknown_config_key",
    "unmerged", "unnamed_parameters", "unpaired", "unsupported_dtype",
    "untested_turn", "unwrapped", "vocabulary_resized", "weights_differ", "weights_unused",
    "wrapper_prefix", "wrong_total_size",
})  # fmt: skip

# Notices that only say what was done.
_ONLY_SAID = {
    "published-norms", "no-cuda", "few-sequences", "batch-larger-than-data", "stopped-early", "model-length",
    "data-cut", "training-mode", "graphs-replayed", "blocks-one-by-one", "rows-of-diffsynth",
    "rows-of-llama-cpp", "rows-of-torchtune", "torchtune-export", "scale-replaced",
    "no-trainer-state", "steps-missing", "start-missing", "last-left-out", "start-renamed", "unchanged",
    "code-not-run", "model-around", "names-changed", "untested-turn", "unwrapped", "weights-unused",
    "tied-head", "start-beside",
}  # fmt: skip


def only_said(record: Mapping[str, Any]) -> bool:
    """Whether a finding's record only says what was done: no effect, and nothing that may be wrong."""
    return record["severity"] == "note" and record["kind"].replace("_", "-") in _ONLY_SAID


def answers(findings: Iterable["Finding"]) -> list["Finding"]:
    """The findings, strongest first, without what only says how a command ran, such as on which device."""
    return [finding for finding in ordered(findings) if not only_said(finding.record())]


def noticed(label: str, notice: Notice) -> Finding:
    """What was noticed while reading a source, as a finding."""
    evidence = {"tensor": notice.tensor} if notice.tensor else {}
    text = notice.text if notice.text.startswith(f"{label}:") else f"{label}: {notice.text}"
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    severity: Severity = "note" if notice.slug in _ONLY_SAID else "warning"
    return Finding(notice.slug.replace("-", "_"), text, (label,), evidence=evidence, severity=severity)


def noticed_together(notices: Iterable[tuple[str, Notice]]) -> list[Finding]:
    """What was noticed while reading sources; the same of several sources or weights is one finding.

    Notices are the same whose texts differ in numbers and in names of weights alone.
    """
    found = [noticed(label, notice) for label, notice in notices]
    said = {id(f): f.text.removeprefix(f"{f.models[0]}: ") for f in found}
    return merged(
        found,
        lambda f: (f.kind, _COUNT.sub("#", _WEIGHT.sub("§", said[id(f)]))),
        lambda group: (
            f"{named(dict.fromkeys(f.models[0] for f in group), 12)}: "
            f"{_of_weights(list(dict.fromkeys(said[id(f)] for f in group)))}"
        ),
    )


# The full name of a weight or a module.
_WEIGHT = re.compile(r"\b[A-Za-z_]\w*(?:\.\w+){2,}")


def _of_weights(texts: Sequence[str]) -> str:
    """One text for several that differ in numbers and weights: that of the first, and the others' names."""
    weights = list(dict.fromkeys(tuple(_WEIGHT.findall(text)) for text in texts))
    first = iter(weights[0])
    text = re.sub("§", lambda _: next(first), _of_all([_WEIGHT.sub("§", text) for text in texts]))
    others = [" and ".join(names) for names in weights[1:]]
    return f"{text} The same of {len(others)} more: {named(others, 3)}." if others else text


# A number that stands alone: not part of a name, a version or a shape.
_COUNT = re.compile(r"(?<![\w.:/-])[0-9][0-9,]*(?![\w.:/-]|\.[0-9])")


def _of_all(texts: Sequence[str]) -> str:
    """One text for several that differ in numbers only: each number as its range."""
    counts = [[int(n.replace(",", "")) for n in _COUNT.findall(text)] for text in texts]
    ranges = iter([(min(column), max(column)) for column in zip(*counts, strict=True)])

    def span(_: re.Match[str]) -> str:
        low, high = next(ranges)
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    return texts[0] if len(set(texts)) == 1 else _COUNT.sub(span, texts[0])
