"""Records of a data set on the hub, through the `datasets` library."""

from collections.abc import Iterator
from typing import Any

from tunescope.errors import BadInput, Missing, TunescopeError, UsageError
from tunescope.extras import advice
from tunescope.hub_refusals import NOT_THE_HUB, missing, out_of_reach, refusal_of
from tunescope.hub_session import bound
from tunescope.network import patiently


def hub_records(spec: str) -> Iterator[tuple[int, object]]:
    """Numbered records of `org/name[@revision][:config][:split]`; the split defaults to `train`."""
    try:
        # Deferred: an extra.
        import datasets
        import huggingface_hub
    except ModuleNotFoundError as problem:
        raise UsageError(
            "extra-missing", "hub data sets need the library `datasets`", fix=advice("train")
        ) from problem
    name, revision, config, split = parse_spec(spec)
    names: list[str] | None = None
    try:
        # All files are of the commit that the hub stated first.
        commit, names = _commit(huggingface_hub, spec, name, revision)
        options = {"split": split, "revision": commit, "trust_remote_code": False}
        records = patiently(lambda: datasets.load_dataset(name, config, **options), spec)
    except TunescopeError:
        raise
    # The libraries raise errors of those that they use; what is not one that is known goes on as it came.
    except Exception as problem:
        _refuse(huggingface_hub.errors, spec, names, problem)
        raise
    yield from enumerate(records, 1)


def _commit(library: Any, spec: str, name: str, revision: str | None) -> tuple[str | None, list[str] | None]:
    """The commit that a revision is now, and its files; as it was given, where the hub cannot be asked."""
    if library.constants.HF_HUB_OFFLINE:
        return revision, None
    bound(library)
    try:
        info = patiently(lambda: library.HfApi().dataset_info(name, revision=revision), spec)
        return str(info.sha), [sibling.rfilename for sibling in info.siblings]
    except library.errors.HFValidationError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise missing(NOT_THE_HUB, spec, type(error).__name__) from None
    # As in `hub_records`.
    except Exception as error:
        if refusal_of(library.errors, error, spec) is None and out_of_reach(error) is not None:
            # It may lie in the cache.
            return revision, None
        raise


def _refuse(errors: Any, spec: str, names: list[str] | None, problem: Exception) -> None:
    """Raise what of the errors of `datasets` and of the hub is the data's or the network's."""
    if "scripts are no longer supported" in str(problem):
        if names is not None and not any(name.endswith(".py") for name in names):
            # Whatever was asked for was there, as where a page answers for everything.
            raise missing(NOT_THE_HUB, spec, "files that the hub does not list") from None
        raise BadInput(
            "remote-code",
            "this data set is made by a script of its own, which tunescope never runs",
            file=spec,
            expected="a data set of Parquet, JSON or CSV files",
            found=str(problem).split("\n", 1)[0],
            fix="name one of its files, or a revision that holds Parquet files",
        ) from problem
    if (refusal := refusal_of(errors, problem, spec)) is not None:
        raise refusal from None
    if out_of_reach(problem) is not None or isinstance(problem, ValueError):
        raise Missing(
            "data-hub",
            f"the data set {spec} could not be loaded from the hub",
            file=spec,
            found=str(problem).splitlines()[0] if str(problem) else type(problem).__name__,
            fix="check the id, log in with `hf auth login`, or name a local file",
        ) from problem


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
