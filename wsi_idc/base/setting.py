"""Settings that are written once: a dataclass field with its bounds, unit and help, and all that is made of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from inspect import Parameter, signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from wsi_idc.errors import SettingsError

_KEY = "setting"
# An option whose name is made of that of the setting.
_MADE = "made"
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its name, type and default; see `setting`."""

    help: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    option: str = _MADE
    without: str = ""
    of_model: str = ""
    metavar: str | None = None
    decides: bool = True
    name: str = ""
    kind: type = float
    optional: bool = False
    default: Any = None

    def checked(self, value: Any) -> Any:
        """Return the value in its own type; raises SettingsError, which names value and bounds, where it is none."""
        if value is None and self.optional:
            return None
        try:
            found = self._converted(value)
        except OverflowError:
            # A whole number larger than any float.
            found = None
        if found is None:
            raise SettingsError(f"{self.name} = {value!r}: give {self.wanted}")
        return found

    @property
    def wanted(self) -> str:
        """What a value has to be, in words."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is str:
            return "text"
        low = "" if self.low == -math.inf else f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        high = "" if self.high == math.inf else f"below {self.high:g}" if self.open_high else f"at most {self.high:g}"
        bounds = " and ".join(filter(None, [low, high]))
        unit = f" ({self.unit})" if self.unit else ""
        if self.kind is tuple:
            return f"numbers {bounds} that rise, such as 0.3,0.5,0.7"
        kind = "a whole number" if self.kind is int else "a number"
        return ", ".join(filter(None, [kind, bounds])) + unit

    def _converted(self, value: Any) -> Any:
        """Return the value in the type of the setting, None where it cannot be meant."""
        if self.kind is tuple:
            if isinstance(value, str) or not isinstance(value, Sequence):
                return None
            numbers = [number for v in value if (number := self._number(v)) is not None]
            return tuple(numbers) if len(numbers) == len(value) and numbers == sorted(set(numbers)) else None
        if self.kind in (int, float):
            return self._number(value)
        if not isinstance(value, self.kind) or (self.choices and value not in self.choices):
            return None
        return value

    def _number(self, value: Any) -> float | None:
        # A bool is an Integral; nobody who writes True means one.
        if isinstance(value, bool) or not isinstance(value, Integral if self.kind is int else Real):
            return None
        try:
            number = int(value) if isinstance(value, Integral) and self.kind is int else float(value)
        except OverflowError:
            return None
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        # A whole number is finite, and may have too many digits to be asked.
        return number if above and below and (isinstance(number, int) or math.isfinite(number)) else None


def setting(default: Any, help: str, **facts: Any) -> Any:
    """Make a dataclass field that is a setting; its type is that of the field: float, int, bool, str or a tuple.

    `help` is one sentence, for users. Of the `facts`, `low` and `high` bound numbers, bounds included but for
    `open_low` and `open_high`; `unit` is theirs. `choices` are what a text may be. `option` is the option of the
    command line where it is not made of the name, "" where there is none; `metavar` stands there for its value. Where
    the default is None, `without` says what holds then, and `of_model` names the attribute of a model package that
    does. `decides` says that the result depends on it, and not only how the result is reached.
    """
    return field(default=default, metadata={_KEY: Setting(help, **facts)})


_SETTINGS: dict[type, dict[str, Setting]] = {}


def settings_of(cls: type) -> dict[str, Setting]:
    """Return the settings of a dataclass by name, with what its fields say of them."""
    if cls not in _SETTINGS:
        _SETTINGS[cls] = _read_fields(cls)
    return _SETTINGS[cls]


def _read_fields(cls: type) -> dict[str, Setting]:
    hints = get_type_hints(cls)
    found = {}
    for f in fields(cls):
        kinds = [k for k in get_args(hints[f.name]) if k not in (type(None), Ellipsis)]
        kind = tuple if getattr(hints[f.name], "__origin__", None) is tuple else kinds[0] if kinds else hints[f.name]
        known: Setting = f.metadata[_KEY]
        option = "--" + f.name.replace("_", "-") if known.option == _MADE else known.option
        optional = f.default is None
        found[f.name] = replace(known, name=f.name, kind=kind, optional=optional, default=f.default, option=option)
    return found


def check(settings: Any) -> None:
    """Turn each setting of a frozen dataclass into its own type; raises SettingsError for the first that cannot be."""
    for name, known in settings_of(type(settings)).items():
        object.__setattr__(settings, name, known.checked(getattr(settings, name)))


def takes_settings(cls: type) -> Callable[[Function], Function]:
    """Give a function that takes `**settings` the signature and the documentation of those of a dataclass."""

    def decorate(function: Function) -> Function:
        known = settings_of(cls)
        hints = {f.name: f.type for f in fields(cls)}
        given = signature(function)
        named = [p for p in given.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        for name, s in known.items():
            named.append(Parameter(name, Parameter.KEYWORD_ONLY, default=s.default, annotation=hints[name]))
        function.__signature__ = given.replace(parameters=named)  # type: ignore[attr-defined]
        lines = "".join(f"\n        {name}: {describe(s)}" for name, s in known.items())
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n\n    Settings:{lines}\n    "
        return function

    return decorate


def describe(known: Setting) -> str:
    """Say in a line what a setting is, what it takes and what holds where it is not given."""
    return f"{known.help} Takes {known.wanted}; {shown_default(known)} by default."


def shown_default(known: Setting) -> str:
    """Write the default as a user would."""
    if known.default is None or known.default == ():
        return known.without or "none"
    return f"{known.default:g}" if known.kind in (int, float) else str(known.default).lower()


def to_toml(settings: Any) -> str:
    """Write settings as a TOML file that `read_toml` reads, each with its help above it; what is None is left out."""
    parts = []
    for name, known in settings_of(type(settings)).items():
        value = getattr(settings, name)
        line = f"# {name} =" if value is None else f"{name} = {_toml(value)}"
        parts.append(f"# {known.help}\n# Takes {known.wanted}; {shown_default(known)} by default.\n{line}\n")
    return "\n".join(parts)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else repr(value)


def read_toml(path: Path, cls: type) -> dict[str, Any]:
    """Read the settings in a TOML file, those that it has, checked one by one.

    Raises SettingsError, which names the file, where it cannot be read, is no TOML or has a setting that is not known
    or cannot be meant.
    """
    from wsi_idc.base.inputs.toml import read_toml_file

    try:
        found = read_toml_file(path)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); give a file of settings") from error
    except ValueError as error:
        raise SettingsError(f"{path}: is not TOML ({error}); see wsi-idc segment --print-config") from error
    known = settings_of(cls)
    for name, value in found.items():
        if name not in known:
            raise SettingsError(f"{path}: no setting {name!r}; there are {', '.join(known)}")
        try:
            found[name] = known[name].checked(value)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from error
    return found


def recorded(settings: Any) -> dict[str, Any]:
    """Return the settings on which a result depends, as JSON holds them."""
    known = settings_of(type(settings))
    values = {name: getattr(settings, name) for name, s in known.items() if s.decides}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
