"""The held-out loss of the untouched model on every domain, measured once for a sweep."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunescope.errors import BadInput
from tunescope.source.training_run import read_json
from tunescope.training import model as models
from tunescope.training.collation import Padding
from tunescope.training.domains import Domain
from tunescope.training.evaluation import HeldOutLoss, held_out_loss
from tunescope.training.recipe import Recipe
from tunescope.writing import write_json

FILE = "base_losses.json"


class BaseLosses:
    """Losses before training, kept in the sweep's folder."""

    def __init__(self, root: Path, recipe: Recipe, domains: Mapping[str, Domain]) -> None:
        self._path, self._recipe, self._domains = root / FILE, recipe, domains

    def read(self) -> dict[str, HeldOutLoss]:
        """What is known of the domains as they are now."""
        if not self._path.exists():
            return {}
        document = read_json(self._path)
        return {
            name: self._loss(document[name])
            for name in self._domains
            if isinstance(document.get(name), dict) and document[name].get("of") == self._identity(name)
        }

    def _loss(self, at: Mapping[str, Any]) -> HeldOutLoss:
        loss, tokens = at.get("loss"), at.get("tokens")
        if not (isinstance(loss, float | int | None) and isinstance(tokens, int)):
            raise BadInput(
                "bad-json",
                "the losses of the untouched model are damaged",
                file=self._path,
                expected="loss: a number, tokens: a whole number",
                found=dict(at),
                fix="remove the file; they are measured again",
            )
        return HeldOutLoss(math.nan if loss is None else loss, tokens)

    def measure(
        self, padding: Padding, main_process: bool, untouched: Any | None = None
    ) -> dict[str, HeldOutLoss]:
        """All losses, of a model that is `untouched` yet; one is loaded only where none is given."""
        known = self.read()
        missing = [name for name in self._domains if name not in known]
        if missing:
            model = untouched
            if model is None:
                model = models.prepare(models.load_base(self._recipe), self._recipe)
            for name in missing:
                held_out = self._domains[name].held_out
                known[name] = held_out_loss(model, held_out, padding, self._recipe.batch_size)
            if main_process:
                self._write(known)
        return {name: known[name] for name in self._domains}

    def _write(self, losses: Mapping[str, HeldOutLoss]) -> None:
        document = read_json(self._path) if self._path.exists() else {}
        for name, at in losses.items():
            document[name] = {"loss": at.loss, "tokens": at.tokens, "of": self._identity(name)}
        write_json(self._path, document)

    def _identity(self, name: str) -> dict[str, Any]:
        """What the loss depends on."""
        settings = self._recipe.settings()
        names = ("model", "quantize", "full", "max_length", "held_out", "held_out_rows")
        return {key: settings[key] for key in names} | {"sha256": self._domains[name].record["sha256"]}
