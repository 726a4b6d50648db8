"""What ships to try tunescope on: a small pre-trained language model, five domains, made-up adapters."""

from pathlib import Path

from tunescope.demo.adapters import made_adapters
from tunescope.demo.family import made_family

__all__ = ["domain_paths", "made_adapters", "made_family", "model_path"]

_HERE = Path(__file__).parent
DOMAINS = ("cpp", "python", "math_solutions", "math_reasoning", "physics")


def model_path() -> Path:
    """The folder of the small language model, as `transformers` loads it.

    A Llama of 10 layers, width 192 and 4.5 M parameters in bfloat16 with a byte-level vocabulary of 3072.
    `pretraining.json` in it records the data, the recipe and the held-out loss.

    >>> sorted(path.suffix for path in model_path().glob("model*"))
    ['.safetensors']
    """
    return _HERE / "model"


def domain_paths() -> dict[str, Path]:
    """The JSONL file of each domain: 320 rows of `prompt` + `completion` or `question` + `solution`.

    >>> list(domain_paths())
    ['cpp', 'python', 'math_solutions', 'math_reasoning', 'physics']
    """
    return {name: _HERE / "domains" / f"{name}.jsonl" for name in DOMAINS}
