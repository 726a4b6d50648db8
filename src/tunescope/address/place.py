"""The place of a weight in a model."""

from dataclasses import dataclass, field

from tunescope.address.families import classify


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a weight sits in a model.

    `stack` names the tower (`model` where there is only one), `layer` is the block's index (`None`
    outside blocks), `module_type` the path after that index (the whole path outside blocks), `expert`
    the index of a mixture-of-experts expert. `blocks` is the path of the list of blocks in its own model,
    by which lists that look alike are told apart, `step` how many layer numbers one place of a U-Net
    takes, and `gate_first` whether the rows of an MLP's gate stand before those that it gates, where
    diffusers has them behind; they are no part of what the address is.
    """

    stack: str
    layer: int | None
    module_type: str
    expert: int | None = None
    blocks: str = field(default="", compare=False, repr=False)
    step: int = field(default=1, compare=False, repr=False)
    gate_first: bool = field(default=False, compare=False, repr=False)

    @property
    def family(self) -> str:
        """One of `attention`, `mlp`, `norm`, `embedding`, `other`."""
        return classify(self.module_type)[0]

    @property
    def component(self) -> str:
        """The component without its layer, such as `ATTN_K`, `MLP_GATE`, `ATTN_QKV`."""
        return classify(self.module_type)[1]
