"""The readout of a check as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.study.coverage import coverage_lines
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.study.study import Study
from tunescope.words import counted

METHODS = (
    "Read from {read}: a module attaches where the base has a weight of its name and shape, as "
    "the library that wrote the adapter would look it up."
)


def check_markdown(study: Study) -> str:
    """What each file is, whether it attaches, what stands in the way, what is left over."""
    document = study.readout
    base = document["base"]
    lines = ["# Will it load" + (f": against {escaped(base['location'])}" if base else "?"), ""]
    header = [
        "model",
        "format",
        "method",
        "rank",
        "dtype",
        "scale",
        "modules",
        *(["attached"] if base else []),
    ]
    rows = [_row(label, model, base is not None) for label, model in document["models"].items()]
    lines += [*table(header, rows), ""]
    for label, model in document["models"].items():
        lines.append(f"- {_told(label, model)}")
    if base:
        lines.append(
            f"- the base: {counted(base['weights'], 'weight')}, from {_size(base['bytes_read'])} of headers."
        )
    lines += ["", "## Findings", "", *finding_lines(document["findings"], _nothing(study))]
    lines += ["", "## Coverage", "", *coverage_lines(study.tables["coverage"].frame)]
    return (
        "\n".join([*lines, "", "## Methods", "", escaped(f"{_methods(study)} {read_line(study.sources)}")])
        + "\n"
    )


def _methods(study: Study) -> str:
    deep = study.arguments.get("deep")
    base = " (of the base from headers alone)" if deep and study.readout["base"] else ""
    return METHODS.format(read=f"headers, configs and values{base}" if deep else "headers and configs")


def _nothing(study: Study) -> str:
    """What was looked at where nothing stands in the way, and what was not."""
    document = study.readout
    if any(finding["severity"] == "warning" for finding in document["findings"]):
        return ""
    models = document["models"].values()
    modules = sum(model["modules"] for model in models)
    where = "" if document["base"] is None else ", and each meets a weight of the base"
    values = (
        "no update is zero, not finite or another module's."
        if study.arguments.get("deep")
        else "the values were not read: --deep also tells updates of zero, of no finite numbers, and doubled."
    )
    return (
        f"Nothing stands in the way in {counted(modules, 'module')}: "
        f"names, shapes and ranks agree{where}; {values}"
    )


def _row(label: str, model: Mapping[str, Any], against_base: bool) -> list[str]:
    scales = _few([f"{scale:g}" for scale in model["scales"]])
    if model["scale_unknown"]:
        scales = f"{scales}, " * bool(scales) + f"unknown for {model['scale_unknown']}"
    cells = [
        label,
        model["format"],
        _few(model["methods"]),
        _few(model["ranks"]),
        _few(model["dtypes"]),
        scales,
    ]
    cells.append(str(model["modules"]))
    cells += [f"{model['attached']} of {model['modules']}"] if against_base else []
    return [escaped(cell) for cell in cells]


def _told(label: str, model: Mapping[str, Any]) -> str:
    whole = model["bytes_read"] == model["bytes"]
    read = f"read {'all' if whole else _size(model['bytes_read'])} of {_size(model['bytes'])}"
    named = model["base_named"] or "no base"
    version = f", written by PEFT {escaped(str(model['tuner_version']))}" if model["tuner_version"] else ""
    return f"{escaped(label)}: {read}; the config names {escaped(str(named))}{version}; {_targets(model)}."


def _targets(model: Mapping[str, Any]) -> str:
    """The modules that the file has, and those that the config names."""
    stated = model["targets_named"]
    named = [stated] if isinstance(stated, str) else sorted(map(str, stated or ()))
    return f"targets in the file {_few(model['targets'])}" + (
        f", in the config {_few(named)}" if named else ""
    )


def _few(values: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(map(str, values[:most]))
    return escaped(shown + (", …" if len(values) > most else ""))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
