"""What transformers calls the weights of a model once they are loaded, where its files have other names.

Adapters have the names of the loaded model, or those that an older version gave it; PEFT takes both.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tunescope.questions.check.base import BaseNames
from tunescope.source.loader_names import loaded_names
from tunescope.source.opened import Source

_LANGUAGE = (
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^(vision_tower|vision_model|multi_modal_projector|image_newline)(?=\.|$)", r"model.\1"),
)
_AUDIO = (*_LANGUAGE[:2], (r"^(audio_tower|multi_modal_projector)\.", r"model.\1."))
_QWEN_VL = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(?!language_model\.|visual\.)", "model.language_model."),
)


def _beside_language(*parts: str) -> tuple[tuple[str, str], ...]:
    """A language model beside other parts, all of them within `model` once loaded."""
    return (*_LANGUAGE[:2], (rf"^({'|'.join(parts)})(?=\.|$)", r"model.\1"))


_OMNI = (
    (r"^(visual|audio_tower)\.", r"model.\1."),
    (r"^model\.(?!language_model\.|visual\.|audio_tower\.)", "model.language_model."),
)
_VIT = (
    (r"\bencoder\.layer\.", "layers."),
    (r"\battention\.query\.", "q_proj."),
    (r"\battention\.key\.", "k_proj."),
    (r"\battention\.value\.", "v_proj."),
    (r"\battention\.output\.dense\.", "attention.o_proj."),
    (r"\bintermediate\.dense\.", "mlp.fc1."),
    (r"\boutput\.dense\.", "mlp.fc2."),
)
_MIXTRAL = ((r"\.block_sparse_moe\.", ".mlp."),)
# By `model_type` [huggingface/transformers: src/transformers/conversion_mapping.py].
_RENAMED: Mapping[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys((
        "llava", "llava_next", "llava_next_video", "llava_onevision", "vipllava", "aya_vision", "got_ocr2",
        "gemma3", "internvl", "mistral3", "paligemma", "aria", "mllama", "pp_chart2table",
    ), _LANGUAGE),
    **dict.fromkeys(("qwen2_audio", "voxtral", "audioflamingo3", "musicflamingo", "glm_asr"), _AUDIO),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _QWEN_VL),
    "fuyu": _beside_language("vision_embed_tokens"),
    "video_llava": _beside_language("image_tower", "video_tower", "multi_modal_projector"),
    **dict.fromkeys(("granite_speech", "granite_speech_plus"), _beside_language("encoder", "projector")),
    "emu3": (
        (r"^text_model\.lm_head\.", "lm_head."),
        (r"^text_model\.model\.", "model.text_model."),
        (r"^vqmodel\.", "model.vqmodel."),
    ),
    **dict.fromkeys(("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"), _OMNI),
    "paddleocr_vl": (
        (r"^mlp_AR\.", "model.projector."),
        (r"^visual\.", "model.visual."),
        (r"^model\.(?!language_model\.|visual\.|projector\.)", "model.language_model."),
    ),
    **dict.fromkeys(("vit", "vit_mae", "deit", "ijepa", "vivit", "audio-spectrogram-transformer"), _VIT),
    "vision-encoder-decoder": tuple((rf"^(encoder\..*?){p}", rf"\1{to}") for p, to in _VIT),
    **dict.fromkeys(("mixtral", "minimax", "minimax_m2"), _MIXTRAL),
    "phimoe": (*_MIXTRAL, (r"\.gate\.weight$", ".router.weight")),
}  # fmt: skip
_BY_TYPE = "transformers gives them other names as it loads a model of type {}"

# What stands in front of every name in a model with a head and of none in the model alone.
_BODIES = ("model.", "transformer.", "bert.", "roberta.", "distilbert.", "deberta.", "vit.", "gpt_neox.")
_ALONE = "FEATURE_EXTRACTION"
_WITHOUT_HEAD = "AutoModel loads the base without its head, and so without {!r} in front of its names"
_WITH_HEAD = "the class for {} puts {!r} in front of the base's names as it loads it"


def spellings(base: BaseNames, source: Source) -> Iterator[BaseNames]:
    """The base under its own names, and under those that a loader gives it, with the loader's rule in words.

    Which class loads the base for an adapter stands in its config (`task_type`).
    """
    yield base
    kind = str(base.config.get("model_type"))
    if rules := _RENAMED.get(kind):
        yield replace(base, shapes=_renamed(base, rules), loading=_BY_TYPE.format(kind))
    if shapes := loaded_names(base.shapes, base.config):
        yield replace(base, shapes=shapes, loading=_BY_TYPE.format(kind))
    task = source.config.get("task_type")
    body = next((body for body in _BODIES if any(name.startswith(body) for name in base.shapes)), None)
    if task == _ALONE and body is not None:
        shapes = {name.removeprefix(body): shape for name, shape in base.shapes.items()}
        yield replace(base, shapes=shapes, loading=_WITHOUT_HEAD.format(body))
    elif isinstance(task, str) and task != _ALONE and body is None:
        for one in _BODIES:
            shapes = {f"{one}{name}": shape for name, shape in base.shapes.items()}
            yield replace(base, shapes=shapes, loading=_WITH_HEAD.format(task, one))


def _renamed(base: BaseNames, rules: tuple[tuple[str, str], ...]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, shape in base.shapes.items():
        for pattern, instead in rules:
            name = re.sub(pattern, instead, name)
        shapes[name] = shape
    return shapes
