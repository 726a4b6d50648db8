"""Every column of every subspace table: type, unit or range, and meaning."""

import polars as pl

from tunescope.table import Column, Schema

SIDES = ("input", "output")
_SHARE, _ANGLE, _NORM = "[0, 1]", "degrees", "unit of the weights"
_PAIR: Schema = {
    "model_a": Column(pl.String, "label of the first model"),
    "model_b": Column(pl.String, "label of the second"),
}
_ADDRESS: Schema = {
    "stack": Column(pl.String, "stack of blocks or tower that the layer is counted in"),
    "layer": Column(pl.Int64, "index of the block in its stack, from 0; null outside blocks"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert, from 0; null where there are none"),
}
_NAMED: Schema = {
    **_ADDRESS,
    "component_name": Column(pl.String, "short name of layer and module"),
}
_MODEL: Schema = {"model_id": Column(pl.String, "label of the model")}

GRID: Schema = {
    **_PAIR,
    **_ADDRESS,
    "of": Column(pl.String, "whose directions: A, B or delta (ΔW)"),
    "side": Column(pl.String, "input (row space) or output (column space)"),
    "i": Column(pl.Int32, "leading directions taken of the first model", "directions"),
    "j": Column(pl.Int32, "leading directions taken of the second", "directions"),
    "phi": Column(pl.Float64, "‖U_iᵀU'_j‖²_F / min(i, j) [Hu et al. 2021, eq. 4]", _SHARE),
    "phi_chance": Column(pl.Float64, "mean of φ for random subspaces, max(i, j)/d", _SHARE),
    "z": Column(pl.Float64, "(φ − chance) / its deviation for random subspaces; null where that is 0"),
    "p": Column(
        pl.Float64,
        "P(φ or more) of random subspaces: the Beta law of φ's mean and variance, exact for min(i, j) = 1",
        _SHARE,
    ),
    "unique": Column(pl.Boolean, "false where singular values tie at i or j, so that φ depends on a choice"),
}


def _of_side(side: str) -> Schema:
    return {
        f"overlap_{side}": Column(pl.Float64, f"φ of the whole spans, {side} side", _SHARE),
        f"overlap_{side}_chance": Column(pl.Float64, "its mean for random subspaces", _SHARE),
        f"overlap_{side}_z": Column(pl.Float64, "(overlap − chance) / its deviation for random subspaces"),
        f"overlap_{side}_p": Column(
            pl.Float64, "P(overlap or more) of random subspaces or placements", _SHARE
        ),
    }


def _shared(side: str) -> Schema:
    count = f"dimensions_shared_{side}"
    return {
        count: Column(pl.Int64, "directions in common beyond chance; null where not told", "directions"),
        f"{count}_sd": Column(pl.Float64, "deviation of that count under chance", "directions"),
        f"{count}_p": Column(
            pl.Float64, "bound on P(so many or more) of random subspaces or placements", _SHARE
        ),
    }


def _angles(side: str) -> Schema:
    return {
        f"angle_{which}_{side}": Column(pl.Float64, f"{which} principal angle, {side} side", _ANGLE)
        for which in ("smallest", "median", "largest")
    }


SUMMARY: Schema = {
    **_PAIR,
    **_NAMED,
    "rank_a": Column(pl.Int64, "rank of the first model's update", "directions"),
    "rank_b": Column(pl.Int64, "rank of the second's", "directions"),
    "d_in": Column(pl.Int64, "inputs of the weight"),
    "d_out": Column(pl.Int64, "outputs of the weight"),
    **_of_side("input"),
    **_of_side("output"),
    "delta_cosine": Column(pl.Float64, "⟨ΔW, ΔW'⟩/(‖ΔW‖_F‖ΔW'‖_F)", "[-1, 1]"),
    **_angles("input"),
    **_angles("output"),
    "dimensions_shared": Column(pl.Int64, "the larger of both sides' counts", "directions"),
    **_shared("input"),
    **_shared("output"),
    "excess_input": Column(
        pl.Float64, "(φ − chance)/(1 − chance), input side: 0 by chance, 1 for equal spans", "at most 1"
    ),
    "excess_output": Column(
        pl.Float64, "(φ − chance)/(1 − chance), output side: 0 by chance, 1 for equal spans", "at most 1"
    ),
    "excess_leading": Column(
        pl.Float64,
        "excess of φ(k, k) of the leading directions in common, output (else input) side",
        "at most 1",
    ),
    "excess_leading_input": Column(pl.Float64, "the same of the input side", "at most 1"),
    "excess_leading_output": Column(pl.Float64, "the same of the output side", "at most 1"),
    "start_cosine": Column(
        pl.Float64,
        "⟨A, A'⟩/(‖A‖‖A'‖) entry by entry: 1 for one untouched start, 0 ± 1/√(r d) for two; null where the "
        "factors are not in their own basis",
        "[-1, 1]",
    ),
    "finding": Column(pl.String, "what the weight's numbers say, as one word"),
    "inner": Column(pl.Float64, "⟨ΔW, ΔW'⟩", "square of the unit of the weights"),
    "norm_a": Column(pl.Float64, "‖ΔW‖_F; ‖BA‖_F where neither scale is known", _NORM),
    "norm_b": Column(pl.Float64, "the same of the second model", _NORM),
    "status": Column(pl.String, "ok, or why the pair has no numbers"),
}
AMPLIFICATION: Schema = {
    **_MODEL,
    **_NAMED,
    "directions": Column(pl.String, "whose directions: delta (ΔW), base (W) or random"),
    "rank": Column(pl.Int64, "how many of them", "directions"),
    "projected_norm": Column(pl.Float64, "‖UᵀWV‖_F [Hu et al. 2021, table 7]", _NORM),
    "base_norm": Column(pl.Float64, "‖W‖_F", _NORM),
    "delta_norm": Column(pl.Float64, "‖ΔW‖_F", _NORM),
    "amplification": Column(pl.Float64, "‖ΔW‖_F/‖UᵀWV‖_F, for ΔW's own directions"),
    "overlap_input": Column(pl.Float64, "φ(k, k) of ΔW's with W's right singular vectors", _SHARE),
    "overlap_output": Column(pl.Float64, "φ(k, k) of ΔW's with W's left singular vectors", _SHARE),
    "chance_input": Column(pl.Float64, "its mean for random subspaces", _SHARE),
    "chance_output": Column(pl.Float64, "its mean for random subspaces", _SHARE),
    "residual": Column(pl.Float64, "largest residual of the iteration, over σ₁"),
    "status": Column(pl.String, "ok, or why the weight has no numbers"),
}
INTRUDERS: Schema = {
    **_MODEL,
    **_NAMED,
    "index": Column(pl.Int64, "place of the vector among the leading ones of W + ΔW, from 1"),
    "singular_value": Column(pl.Float64, "its singular value", _NORM),
    "best_cosine": Column(
        pl.Float64,
        "largest |cosine| with a left singular vector of W; where not exact, only its side of ε",
        _SHARE,
    ),
    "exact": Column(pl.Boolean, "whether best_cosine is that of a full decomposition, to 1e-3"),
    "intruder": Column(pl.Boolean, "best_cosine < ε [Shuttleworth et al. 2024]; null where undecided"),
    "epsilon": Column(pl.Float64, "ε", _SHARE),
    "residual": Column(pl.Float64, "‖Mᵀu − σv‖/σ₁, largest over the vectors"),
}
