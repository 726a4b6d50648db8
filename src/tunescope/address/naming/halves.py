"""Weights that diffusers stores with their two halves the other way round than the model's authors."""

from tunescope.address.naming import sources as of
from tunescope.address.naming.rules import Rename

_ANY = ".*"
# Shift before scale, diffusers scale before shift; gate before value, diffusers value before gate.
HALVES = (
    Rename(
        "",
        r"final_layer\.adaLN_modulation\.1",
        "norm_out.linear",
        f"{of.FLUX_DIFFUSERS}; {of.FLUX2_DIFFUSERS}; {of.SD3_DIFFUSERS}; {of.HUNYUAN_DIFFUSERS}",
    ),
    Rename("", r"final_layer\.image\.adaLN_modulation\.1", "norm_out.linear", of.FLUX3),
    Rename("", r"final_layer\.mod", "norm_out.linear", of.MOCHI),
    Rename("", r"modF\.1", "norm_out.linear", of.AURA),
    Rename(_ANY, r"mlp_x\.w1", "ff.net.0.proj", of.MOCHI),
    Rename(_ANY, r"mlp_y\.w1", "ff_context.net.0.proj", of.MOCHI),
)
# The same in the last block of SD3 alone, which has a shift and a scale and nothing else.
LAST_HALVES = (Rename(_ANY, r"context_block\.adaLN_modulation\.1", "norm1_context.linear", of.SD3_DIFFUSERS),)
# The first projection of MiniMax-H3's MLP keeps its name, since its gate stands first; what tells the model.
OF_GATED = frozenset({"attn.qkv_proj", "adaln_proj.linear"})
GATE_FIRST = Rename(_ANY, "mlp.fc1", "ff.net.0.proj", of.MINIMAX)
