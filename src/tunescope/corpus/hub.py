"""Records of a data set on the hub, through the `datasets` library."""

from collections.abc import Iterator

from tunescope.errors import BadInput, Missing, UsageError
from tunescope.extras import advice
from tunescope.network import patiently


def hub_records(spec: str) -> Iterator[tuple[int, object]]:
    """Numbered records of `org/name[@revision][:config][:split]`; the split defaults to `train`."""
    try:
        # Deferred: an extra.
        import datasets
    except ModuleNotFoundError as problem:
        raise UsageError(
            "extra-missing", "hub data sets need the library `datasets`", fix=advice("train")
        ) from problem
    name, revision, config, split = parse_spec(spec)
    try:
        records = patiently(
            lambda: datasets.load_dataset(
                name, config, split=split, revision=revision, trust_remote_code=False
            ),
            spec,
        )
    except RuntimeError as problem:
        if "scripts are no longer supported" not in str(problem):
            raise
        raise BadInput(
            "remote-code",
            "this data set is made by a script of its own, which tunescope never runs",
            file=spec,
            expected="a data set of Parquet, JSON or CSV files",
            found=str(problem).split("\n", 1)[0],
            fix="name one of its files, or a revision that holds Parquet files",
        ) from problem
    except (OSError, ValueError) as problem:
        raise Missing(
            "data-hub",
            f"the data set {spec} could not be loaded from the hub",
            file=spec,
            found=str(problem).splitlines()[0] if str(problem) else type(problem).__name__,
            fix="check the id, log in with `hf auth login`, or name a local file",
        ) from problem
    yield from enumerate(records, 1)


def parse_spec(spec: str) -> tuple[str, str | None, str | None, str]:
    """Name, revision, configuration and split of a data set specification.

    >>> parse_spec("openai/gsm8k@main:main:test")
    ('openai/gsm8k', 'main', 'main', 'test')
    >>> parse_spec("org/name:validation")
    ('org/name', None, None, 'validation')
    """
    head, *parts = spec.split(":")
    name, _, revision = head.partition("@")
    if len(parts) > 2:
        raise UsageError(
            "data-spec", f"{spec} has too many parts", expected="org/name[@revision][:config][:split]"
        )
    config = parts[0] if len(parts) == 2 else None
    return name, revision or None, config, parts[-1] if parts else "train"
