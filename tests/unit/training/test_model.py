"""The base of a run: all of its files' weights are in it, or what is not is said."""

import json
import logging
import shutil

from tunescope.training.model import load_base
from tunescope.training.recipe import Recipe


def test_layers_that_the_config_does_not_count_are_said_before_training(model_folder, tmp_path, caplog):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    with caplog.at_level(logging.WARNING, "tunescope"):
        load_base(Recipe(model=str(folder), quantize="none"))
        assert caplog.messages == []
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
        load_base(Recipe(model=str(folder), quantize="none"))
    (said,) = caplog.messages
    assert "layers that the config of this LlamaForCausalLM does not count" in said
    assert "[layers-unused]" in said
