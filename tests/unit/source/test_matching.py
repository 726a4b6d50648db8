"""Weights of one model found in another under other names."""

from tunescope.address import parse
from tunescope.source.matching import address_place, matched, place

Q, UP = "layers.{}.self_attn.q_proj.weight", "layers.{}.mlp.up_proj.weight"


def model(prefix: str, layers: int = 3, d: int = 8) -> dict[str, tuple[int, int]]:
    """Shapes of a small decoder whose names begin with `prefix`."""
    names = {f"{prefix}{kind.format(k)}": (d, d) for k in range(layers) for kind in (Q, UP)}
    return names | {f"{prefix}embed_tokens.weight": (40, d), f"{prefix}norm.weight": (d,)}


def pairs(wanted: dict[str, tuple[int, int]], held: dict[str, tuple[int, int]]) -> dict[str, str]:
    return matched(
        {name: place(name, shape) for name, shape in wanted.items()},
        {name: place(name, shape) for name, shape in held.items()},
    )


def test_equal_names_are_one_weight_whatever_their_shapes() -> None:
    assert pairs({"lm_head.weight": (8, 4)}, {"lm_head.weight": (9, 4)}) == {
        "lm_head.weight": "lm_head.weight"
    }


def test_a_wrapper_prefix_on_either_side() -> None:
    plain, wrapped = model("model."), model("language_model.model.") | {"vision.patch.weight": (8, 8)}
    there, back = pairs(plain, wrapped), pairs(wrapped, plain)
    assert there == {name: f"language_model.{name}" for name in plain}
    assert back == {f"language_model.{name}": name for name in plain}


def test_a_renamed_prefix_goes_to_the_tower_whose_shapes_fit() -> None:
    tower = model("vision_tower.encoder.", d=6) | model("model.language_model.")
    found = pairs(model("language_model.model."), tower)
    assert len(found) == 8
    assert all(theirs.startswith("model.language_model.") for theirs in found.values())


def test_two_towers_that_fit_equally_are_not_guessed_between() -> None:
    assert pairs(model("model."), model("left.") | model("right.")) == {}


def test_of_towers_that_fit_equally_the_one_of_the_same_words_is_meant() -> None:
    old = model("vision_model.transformer.", 2) | model("vision_model.global_transformer.", 2)
    old |= model("language_model.model.", 2)
    new = {
        "model." + name.replace("language_model.model.", "language_model."): shape
        for name, shape in old.items()
    }
    there = pairs(new, old)
    assert len(there) == len(new)
    for ours, theirs in there.items():
        assert ours.removeprefix("model.") == theirs.replace("language_model.model.", "language_model.")
    halves = model("encoder.", 2) | model("decoder.", 2)
    wrapped = {f"model.{name}": shape for name, shape in halves.items()}
    assert pairs(wrapped, halves) == {f"model.{name}": name for name in halves}


def test_a_resized_table_follows_its_tower() -> None:
    resized = model("language_model.model.") | {"language_model.model.embed_tokens.weight": (44, 8)}
    assert pairs(model("model."), resized)["model.embed_tokens.weight"] == (
        "language_model.model.embed_tokens.weight"
    )


def test_addresses_of_an_adapter_find_a_base_under_a_prefix() -> None:
    wanted = [parse(f"model.layers.{k}.self_attn.q_proj") for k in range(3)]
    held = [parse(f"language_model.model.layers.{k}.self_attn.q_proj") for k in range(3)]
    found = matched(
        {a: address_place(a, (8, 4)) for a in wanted}, {a: address_place(a, (4, 8)) for a in held}
    )
    assert found == dict(zip(wanted, held, strict=True))


def test_blocks_meet_whatever_their_list_is_called() -> None:
    old = {f"vision_model.encoder.layers.{k}.mlp.fc1.weight": (6, 4) for k in range(3)}
    new = {f"model.vision_tower.encoder.layer.{k}.mlp.fc1.weight": (6, 4) for k in range(3)}
    assert pairs(new, old) == dict(zip(new, old, strict=True))


def test_lists_of_blocks_that_fit_several_or_hold_other_blocks_are_not_guessed_between() -> None:
    blocks = {f"{k}.mlp.fc1.weight": (6, 4) for k in range(2)}
    one = {f"tower.layers.{name}": shape for name, shape in blocks.items()}
    two = {f"{side}.blocks.{name}": shape for name, shape in blocks.items() for side in ("left", "right")}
    assert pairs(one, two) == {}
    longer = {f"side.blocks.{k}.mlp.fc1.weight": (6, 4) for k in range(3)}
    assert pairs(one, longer) == {}


def test_parameters_with_older_names_are_those_that_a_loader_renames() -> None:
    old = {"bert.LayerNorm.gamma": (4,), "bert.LayerNorm.beta": (4,), "a.conv.weight_g": (1, 1, 4)}
    new = {
        "bert.LayerNorm.weight": (4,),
        "bert.LayerNorm.bias": (4,),
        "a.conv.parametrizations.weight.original0": (1, 1, 4),
    }
    assert pairs(new, old) == dict(zip(new, old, strict=True))
