# ruff: noqa: N803
"""What may stand beside a type in `Annotated[int, WithinRange(1, 5)]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "Validator",
    "WithinRange",
]


class Default:
    """The first value."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        """The value; made anew each time if there is a generator."""
        return self._generator() if self._generator else self._value

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Default) and self._generator == other._generator
        return same and self._value == other._value  # type: ignore[union-attr]

    def __hash__(self) -> int:
        return hash(repr(self._value))


class Validator:
    """Refuses values."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for a value that may not be."""
        raise NotImplementedError


class NotNone(Validator):
    """There must be a value."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for None."""
        if value is None:
            raise ValueError("Value must not be None")


class WithinRange(Validator):
    """Both ends included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        """Raise ValueError outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    """Not below."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        """Raise ValueError below."""
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    """Not above."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        """Raise ValueError above."""
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice(Validator):
    """One of these."""

    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        """Raise ValueError for another."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class Exclude(Validator):
    """None of these."""

    def __init__(self, excludedValues: Any) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        """Raise ValueError for one of them."""
        if value in self.excludedValues:
            raise ValueError(f"Value must be none of {self.excludedValues}")


class Decimals:
    """Digits shown by the bound widget."""

    def __init__(self, value: int) -> None:
        self.value = value


class SingleStep:
    """Step of the bound widget."""

    def __init__(self, value: float) -> None:
        self.value = value
