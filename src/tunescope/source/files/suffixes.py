"""How files of weights end."""

# What torch saves; Lightning's litgpt writes `lit_model.pth.lora`.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".lora")
