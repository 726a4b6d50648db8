"""The figures of a norms table, one function each; all take an `ax=` and return it."""

from matplotlib.axes import Axes

from tunescope.errors import UsageError
from tunescope.picture import grid as draw
from tunescope.questions.norms import views as view
from tunescope.table import Table

_METRIC = "frobenius_norm_normalized"


def norm_heatmap(
    table: Table, model_id: str | None = None, metric: str = _METRIC, stack: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw layer × module of one model; `stack` picks the panel where there are several.

    `table` is what `tunescope.norms` returned; `model_id` may be left out where it holds one model. Where
    the scale is unknown the unscaled norm is drawn, and the colour bar says so.
    """
    panels = view.heatmaps(table.frame, _model(table, model_id), _known(table, metric))
    if not 0 <= stack < len(panels):
        raise UsageError("no-such-panel", f"there is no panel {stack}", expected=f"0 to {len(panels) - 1}")
    return draw.heatmap(panels[stack], ax=ax)


def layer_profile(
    table: Table, family: str = "attention", metric: str = _METRIC, ax: Axes | None = None
) -> Axes:
    """Draw the mean of `metric` over each layer's modules of one family, a line per model."""
    found = {p.title: p for p in view.profiles(table.frame, _known(table, metric))}
    if family not in found:
        raise UsageError("no-such-family", f"no profile is called {family!r}", expected=", ".join(found))
    return draw.profile(found[family], ax=ax)


def top_components(
    table: Table, model_id: str | None = None, metric: str = _METRIC, most: int = 15, ax: Axes | None = None
) -> Axes:
    """Draw the components with the largest `metric` of one model."""
    model = _model(table, model_id)
    found = {r.title: r for r in view.rankings(table.frame, _known(table, metric), most)}
    if model not in found:
        raise UsageError("nothing-to-draw", f"{model!r} has no finite {metric}")
    return draw.ranking(found[model], ax=ax)


def _model(table: Table, model_id: str | None) -> str:
    models = table.frame["model_id"].unique(maintain_order=True).to_list()
    if model_id is None and len(models) == 1:
        return str(models[0])
    if model_id not in models:
        raise UsageError("no-such-model", f"the table has no model {model_id!r}", expected=", ".join(models))
    return str(model_id)


def _known(table: Table, metric: str) -> str:
    if metric not in table.frame.columns:
        raise UsageError(
            "unknown-metric", f"there is no metric {metric!r}", expected=", ".join(table.frame.columns)
        )
    return metric
