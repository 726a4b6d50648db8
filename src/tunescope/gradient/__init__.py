"""Model and data to scores of parameters: importance, attribution, ablation. Needs torch."""
