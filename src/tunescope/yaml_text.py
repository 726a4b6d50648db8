"""YAML text as plain values; every way in which it may be unusable has the error of JSON's."""

from typing import Any

from tunescope.documents import DocumentError

MAX_ALIASES = 20
# What PyYAML lets out where a scalar is not what its tag says: `!!bool 2`, `!!int ''`, `!!timestamp x`.
_NOT_AS_TAGGED = (ValueError, KeyError, IndexError, AttributeError, OverflowError)


def parse_yaml(text: bytes | str, *, each_key_once: bool = False, max_aliases: int = MAX_ALIASES) -> Any:
    """The values of a YAML text, without any object but plain ones.

    With `each_key_once` names of mappings are texts, and none is given twice.

    Raises `DocumentError`, its text saying what is wrong and where.

    >>> parse_yaml("r: 8")
    {'r': 8}
    """
    # Deferred: few commands are given such a file.
    import yaml

    try:
        return _loader(each_key_once, max_aliases)(text).get_single_data()
    except yaml.YAMLError as error:
        raise DocumentError(str(error)) from None
    except RecursionError:
        raise DocumentError("nested far too deeply") from None


def _loader(each_key_once: bool, max_aliases: int) -> Any:
    import yaml

    class Plain(yaml.SafeLoader):
        """Refuses floods of aliases, scalars that are not as tagged and, where asked, keys given twice."""

        aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                self.aliases += 1
                if self.aliases > max_aliases:
                    raise DocumentError(f"more than {max_aliases} aliases")
            return super().compose_node(parent, index)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            if not isinstance(node, yaml.ScalarNode):
                return super().construct_object(node, deep)
            try:
                return super().construct_object(node, deep)
            except _NOT_AS_TAGGED:
                kind, line = node.tag.rpartition(":")[2], node.start_mark.line + 1
                raise DocumentError(f"line {line}: {node.value!r} is no {kind}", line) from None

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if each_key_once:
                _refuse_other_names(node)
            return super().construct_mapping(node, deep)

    return Plain


def _refuse_other_names(mapping: Any) -> None:
    seen: set[str] = set()
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key.value, str):
            raise DocumentError(f"line {line}: a name is no text", line)
        if key.value in seen:
            raise DocumentError(f"line {line}: {key.value} is given twice", line)
        seen.add(key.value)
