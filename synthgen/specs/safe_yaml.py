"""A safe subset of YAML for users' files: numbers as in YAML 1.2, no tags, no duplicate keys, no alias bombs.

Anything unreadable raises a `SpecError` that names the file and the line. The line of every value is kept, so that
later errors about a value can name its line too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from synthgen.errors import SpecError

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
"""Maximum number of values in a file after expanding its aliases; stops alias bombs."""
MAX_DEPTH = 40
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"^[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$")
_NUMBER_STARTS = list("-+.0123456789")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, with line numbers."""

    data: Any
    """Mappings, lists, text, numbers, booleans and None."""
    lines: Mapping[tuple[str | int, ...], int]
    """Line, from 1, of the value at each path of keys and positions."""
    where: str
    """The file's name for messages."""

    def place(self, path: tuple[str | int, ...]) -> str:
        """Return ``file:line`` of a value, or of the closest enclosing one."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.where}:{self.lines[path]}" if path in self.lines else self.where


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML ships no types
    """Stops early at files with too many values."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own protocol; filled below)
    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_NODES} values", self.peek_event().start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML ships no types
    """Quotes text that either YAML 1.1 or this reader would parse as a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.add_implicit_resolver(_TAG + "bool", re.compile("^(?:true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver(_TAG + "null", re.compile("^(?:~|null|)$"), ["~", "n", ""])
for _tool in (_Loader, _Dumper):
    _tool.add_implicit_resolver(_TAG + "int", _INT, _NUMBER_STARTS)
    _tool.add_implicit_resolver(_TAG + "float", _FLOAT, _NUMBER_STARTS)


def read_yaml(path: Path, where: str | None = None) -> Document:
    """Read a file of at most 1 MB that contains one mapping."""
    where = where or str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{where}: cannot be read ({error.strerror}); check the path and its permissions") from None
    return parse_yaml(content, where)


def parse_yaml(content: bytes, where: str) -> Document:
    """Parse one YAML document that is a mapping; ``where`` is its name in messages."""
    if len(content) > MAX_BYTES:
        raise SpecError(f"{where}: larger than 1 MB, too large for a spec; check that this is the right file")
    try:
        text = content.decode("utf-8-sig")
        root = yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{where}:{line}: not UTF-8 text; give a YAML file") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{where}:{line}: contains control characters; give a YAML file") from None
    except yaml.YAMLError as error:
        raise SpecError(_syntax_message(error, where)) from None
    except RecursionError:
        raise SpecError(f"{where}: nested deeper than {MAX_DEPTH} levels; flatten it") from None
    if not isinstance(root, yaml.MappingNode):
        found = "nothing" if root is None else _KINDS.get(type(root), "text")
        raise SpecError(f"{where}: contains {found}; write a mapping of keys to values, such as `name: hand`")
    builder = _Builder(where)
    return Document(builder.build(root, (), ()), builder.lines, where)


def to_yaml(data: Any) -> str:
    """Return YAML from which `parse_yaml` restores equal data, keys in their order."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None))


_KINDS = {yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}


class _Builder:
    """Converts YAML nodes to data, counting what aliases repeat."""

    def __init__(self, where: str) -> None:
        self.where, self.count, self.lines = where, 0, dict[tuple[str | int, ...], int]()

    def build(self, node: yaml.Node, path: tuple[str | int, ...], above: tuple[int, ...]) -> Any:
        self.count += 1
        if id(node) in above or self.count > MAX_NODES:
            self.refuse(node, "aliases that repeat too much or contain themselves; write the values out")
        if len(above) > MAX_DEPTH:
            self.refuse(node, f"nested deeper than {MAX_DEPTH} levels; flatten it")
        self.lines.setdefault(path, node.start_mark.line + 1)
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            self.check_tag(node, "map")
            return self.mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            self.check_tag(node, "seq")
            return [self.build(item, (*path, i), above) for i, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...], above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(key_node, "a key that is not text; write `key: value`")
            if key in result:
                self.refuse(key_node, f'duplicate key "{key}"; remove one of the two')
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, (*path, key), above)
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind in {"null", "bool"} and text in _WORDS:
            return _WORDS[text]
        try:
            if kind == "int" and _INT.match(text):
                return int(text)
            if kind == "float" and _FLOAT.match(text):
                return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self.refuse(node, f"{text[:20]}… is not a valid number; write fewer digits")
        return self.check_tag(node, "str")

    def check_tag(self, node: yaml.Node, expected: str) -> None:
        if node.tag != _TAG + expected:
            self.refuse(node, f"tag {node.tag.replace(_TAG, '!!')[:40]}; write the plain value")

    def refuse(self, node: yaml.Node, text: str) -> None:
        raise SpecError(f"{self.where}:{node.start_mark.line + 1}: {text}")


def _syntax_message(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or "unreadable")
    line = f":{mark.line + 1}" if mark is not None else ""
    if "'\\t'" in problem or (mark is not None and mark.buffer is not None and mark.buffer[mark.pointer] == "\t"):
        return f"{where}{line}: contains a tab; indent with spaces"
    return f"{where}{line}: invalid YAML ({problem}); check indentation, colons and quotes"
