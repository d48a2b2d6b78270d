"""How settings are written: in a file, and in bytes; and what is said of bad ones."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from taskservice.errors import RequestError
from taskservice.units import parse_bytes


def _bytes(value: str | int) -> int:
    """A number of bytes, or a text such as `64MiB`. Variables of the environment are always text."""
    return int(value) if isinstance(value, str) and value.isdigit() else parse_bytes(value)


Bytes = BeforeValidator(_bytes)


class FileSource(PydanticBaseSettingsSource):
    """The file that `config` names, as the sources before this one have it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        raise NotImplementedError  # all fields are read at once, below

    def __call__(self) -> dict[str, object]:
        path = self.current_state.get("config")
        return {} if not path else read_file(Path(path).expanduser(), self.settings_cls.model_fields)


def read_file(path: Path, fields: Mapping[str, FieldInfo]) -> dict[str, object]:
    """What a YAML or TOML file says about these fields. Raises RequestError for any other file, or any other name."""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"The settings in {path} cannot be read: {error}", code="bad_settings") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RequestError(f"{path} has to hold names and values, such as `port: 8700`.", code="bad_settings")
    known = sorted(set(fields) - {"config"})
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise RequestError(
            f"{path} names no setting with {', '.join(unknown)}. The settings are: {', '.join(known)}.",
            code="bad_settings",
        )
    return values


def complaints(error: ValidationError) -> list[str]:
    """A line for each bad setting: its name, what is wrong, and its value."""
    lines = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        name = ".".join(str(part) for part in item["loc"])
        lines.append(f"{name}: {message} (it is {item['input']!r})" if name else message)
    return lines
