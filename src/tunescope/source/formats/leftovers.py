"""Why a tensor of an adapter is not part of any ΔW: saved modules, biases, base copies, whole methods."""

import re
from collections.abc import Mapping
from typing import Any

from tunescope.source.files.tensors import NOT_UNDERSTOOD, LazyTensor, Ledger
from tunescope.source.formats.names import strip_wrappers
from tunescope.words import counted

# Methods whose weights say nothing about ΔW without the base weight or the data, by the name people know.
NEEDS_BASE = {
    "ADAMSS": "AdaMSS", "BOFT": "BOFT", "DEFT": "DEFT", "FROD": "FRoD", "GLORA": "GLoRA", "HIRA": "HiRA",
    "HRA": "HRA", "IA3": "IA³", "LN_TUNING": "LN tuning", "OFT": "OFT", "OSF": "OSF", "PEANUT": "PEANuT",
    "PSOFT": "PSOFT", "ROAD": "RoAd", "TRAINABLE_TOKENS": "trainable tokens",
}  # fmt: skip
NO_MATRIX = {
    "ADAPTION_PROMPT": "adaption prompt", "CARTRIDGE": "cartridge", "CPT": "CPT",
    "LILY": "Lily", "MULTITASK_PROMPT_TUNING": "multitask prompt tuning", "POLY": "Poly",
    "P_TUNING": "P-tuning", "PREFIX_TUNING": "prefix tuning", "PROMPT_TUNING": "prompt tuning",
    "SHADOW": "Shadow", "XLORA": "X-LoRA",
}  # fmt: skip

# Reasons of weights that are stored whole.
SAVED, SAVED_EMBEDDING = "saved module, needs base", "saved embedding layer, needs base"
BASE_COPY = "copy of the base layer"
COPY_OF_BEFORE = "copy of the module as it was before training"

_EMBEDDINGS = ("embed_tokens", "lm_head")
# The heads that PEFT trains for a task whatever `modules_to_save` says (up to 0.6 it was not written there).
_HEADS = {
    "SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score"), "QUESTION_ANS": ("qa_outputs",),
}  # fmt: skip
_HEAD = re.compile(
    r"(^|\.)(pre_classifier|classifier|score|qa_outputs|classification_head)(\.\w+)?\.(weight|bias)$"
)
# What has no element without anything having gone wrong, or is named already.
_EMPTY_BY_DESIGN = (
    "pruned to rank 0",
    "mark of the format",
    "incomplete module",
    "unsupported dtype",
    "cut off",
)


def account(
    tensors: Mapping[str, LazyTensor], config: Mapping[str, Any], ledger: Ledger, method: str
) -> None:
    """Give every tensor that no tuner used its reason, and say what a whole method leaves out."""
    for name in ledger.unclaimed():
        if name in tensors and (reason := _reason(tensors[name], config)):
            ledger.left([name], reason)
    if method in NEEDS_BASE:
        text = f"{NEEDS_BASE[method]}: needs the base"
        ledger.left(ledger.unclaimed(), text)
        ledger.notice("needs-base", f"{text}; the file alone has no ΔW")
    elif method in NO_MATRIX:
        ledger.left(ledger.unclaimed(), f"{NO_MATRIX[method]}: no update of a single weight")
        ledger.notice("no-delta", f"{NO_MATRIX[method]} adds no fixed matrix to any weight")


def leave_heads(ledger: Ledger) -> None:
    """Give the weights of a task's head their reason, in a file without a config: it was trained whole."""
    ledger.left((name for name in ledger.unclaimed() if _HEAD.search(name)), SAVED)


def notice_leftovers(ledger: Ledger) -> None:
    """Say which tensors no rule explains, which cannot be read, and which were saved without an element."""
    entries = [entry for entry in ledger.close() if entry.status != "used"]
    unread = [e.tensor for e in entries if e.reason.startswith("unsupported dtype")]
    unknown = [e.tensor for e in entries if e.reason == NOT_UNDERSTOOD]
    empty = [e.tensor for e in entries if 0 in e.shape and not e.reason.startswith(_EMPTY_BY_DESIGN)]
    for slug, names, (one, many, what) in (
        ("not_understood", unknown, ("was", "were", "not understood")),
        ("unsupported-dtype", unread, ("has", "have", "a dtype that cannot be read as numbers")),
        (
            "empty-tensor",
            empty,
            ("was", "were", "saved without any element, as ZeRO-3 does without gathering"),
        ),
    ):
        if names:
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            ledger.notice(
                slug, f"{counted(len(names), f'tensor {one}', f'tensors {many}')} {what}: {shown}", names[0]
            )


def _reason(tensor: LazyTensor, config: Mapping[str, Any]) -> str | None:
    name = strip_wrappers(tensor.name)
    parts = name.split(".")
    if "token_adapter" in parts or parts[-1].startswith("trainable_tokens"):
        return "trainable tokens, needs base"
    if "original_module" in parts:
        return COPY_OF_BEFORE
    if "modules_to_save" in parts or _is_saved(parts, config):
        return SAVED
    # An adapted head is saved with its layer as it was, whose bias is trained only where that is asked for.
    of_layer = name.endswith("base_layer.bias") and config.get("bias") != "none"
    if of_layer or (parts[-1] == "bias" and config.get("bias", "none") != "none"):
        return "bias, needs base"
    if "base_layer" in parts:
        return BASE_COPY
    if len(parts) > 1 and parts[-2] in _EMBEDDINGS:
        return SAVED_EMBEDDING
    return None if tensor.supported else tensor.unreadable


def _is_saved(parts: list[str], config: Mapping[str, Any]) -> bool:
    """PEFT's rule: a module is saved where its path ends with an entry, whole words or not."""
    saved = [*(config.get("modules_to_save") or []), *_HEADS.get(str(config.get("task_type")), ())]
    paths = [".".join(parts[:i]) for i in range(1, len(parts))]
    return any(path.endswith(module) for module in saved for path in paths)
