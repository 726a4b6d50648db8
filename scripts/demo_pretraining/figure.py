"""The loss curve of the pre-training run as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw(record: dict[str, Any], path: Path) -> None:
    curve, judged = record["curve"], record["held_out_loss"]["all"]
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    tokens = [point["step"] * record["recipe"]["tokens_per_step"] / 1e6 for point in curve]
    axes.plot(
        tokens[1:],
        [point["training_loss"] for point in curve[1:]],
        color="#9aa5b1",
        lw=1.4,
        label="training batches",
    )
    axes.plot(
        tokens[1:],
        [point["held_out_loss"] for point in curve[1:]],
        color="#1f4e9c",
        lw=2.0,
        label="held-out documents",
    )
    axes.axhline(
        judged["bigram"],
        color="#c0542b",
        lw=1.4,
        ls="--",
        label=f"bigram model, held out: {judged['bigram']:.2f}",
    )
    axes.annotate(
        f"{judged['model']:.2f}",
        (tokens[-1], judged["model"]),
        xytext=(-4, 8),
        textcoords="offset points",
        ha="right",
        color="#1f4e9c",
    )
    axes.set(xlabel="tokens seen (millions)", ylabel="loss (nats per token)", xlim=(0, tokens[-1]))
    axes.set_ylim(0, judged["bigram"] + 0.35)
    axes.set_title(
        f"Pre-training of the demo model ({record['parameters'] / 1e6:.1f} M parameters)",
        loc="left",
        fontsize=11,
    )
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.93))
    figure.savefig(path, dpi=150)
