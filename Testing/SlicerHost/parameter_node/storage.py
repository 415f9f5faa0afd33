"""How values of each type are kept in a vtkMRMLScriptedModuleNode: the texts that a real Slicer writes."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Iterator, MutableSequence
from typing import Any, get_args, get_origin

import slicer
import vtk

__all__ = ["ListStorage", "Storage", "storage_of"]


class Storage:
    """One type in a parameter node."""

    def __init__(self, kind: type, first: Any) -> None:
        self.kind, self.first = kind, first

    def has(self, node: Any, name: str) -> bool:
        """Whether the node has a value."""
        return bool(node.HasParameter(name)) if hasattr(node, "HasParameter") else name in node.GetParameterNames()

    def check(self, value: Any) -> None:
        """Raise TypeError for a value of another type; only a float may be given as an integer."""
        allowed = (float, int) if self.kind is float else (self.kind,)
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Keep a value."""
        node.SetParameter(name, str(value))

    def read(self, node: Any, name: str) -> Any:
        """The kept value."""
        return self.kind(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        """Forget the value."""
        node.UnsetParameter(name)


class _BoolStorage(Storage):
    def read(self, node: Any, name: str) -> bool:
        return bool(node.GetParameter(name) == "True")


class _EnumStorage(Storage):
    def write(self, node: Any, name: str, value: enum.Enum) -> None:
        node.SetParameter(name, value.name)

    def read(self, node: Any, name: str) -> Any:
        return self.kind[node.GetParameter(name)]  # type: ignore[index]


class _NodeStorage(Storage):
    """A node is kept as a reference, with an empty text beside it."""

    def check(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}'")

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class ListStorage(Storage):
    """`l.0`, `l.1`, ..., `l.len`."""

    def __init__(self, item: Storage) -> None:
        super().__init__(list, [])
        self.item = item

    def has(self, node: Any, name: str) -> bool:
        return super().has(node, f"{name}.len")

    def check(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")
        for part in value:
            self.item.check(part)

    def write(self, node: Any, name: str, value: Any) -> None:
        parts = list(value)
        with slicer.util.NodeModify(node):
            before = int(node.GetParameter(f"{name}.len") or 0)
            for index in range(len(parts), before):
                self.item.remove(node, f"{name}.{index}")
            for index, part in enumerate(parts):
                self.item.write(node, f"{name}.{index}", part)
            node.SetParameter(f"{name}.len", str(len(parts)))

    def read(self, node: Any, name: str) -> KeptList:
        return KeptList(self, node, name)

    def values(self, node: Any, name: str) -> list[Any]:
        """A copy of the kept list."""
        return [self.item.read(node, f"{name}.{i}") for i in range(int(node.GetParameter(f"{name}.len") or 0))]


class KeptList(MutableSequence[Any]):
    """A list whose changes are kept in the node."""

    def __init__(self, storage: ListStorage, node: Any, name: str) -> None:
        self._storage, self._node, self._name = storage, node, name

    def _now(self) -> list[Any]:
        return self._storage.values(self._node, self._name)

    def _keep(self, values: list[Any]) -> None:
        self._storage.check(values)
        self._storage.write(self._node, self._name, values)

    def __getitem__(self, index: Any) -> Any:
        return self._now()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        values = self._now()
        values[index] = value
        self._keep(values)

    def __delitem__(self, index: Any) -> None:
        values = self._now()
        del values[index]
        self._keep(values)

    def __len__(self) -> int:
        return len(self._now())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._now())

    def insert(self, index: int, value: Any) -> None:
        values = self._now()
        values.insert(index, value)
        self._keep(values)

    def extend(self, values: Any) -> None:
        """As list.extend(), with one event of the node."""
        self._keep([*self._now(), *values])

    def sort(self, **how: Any) -> None:
        """As list.sort()."""
        self._keep(sorted(self._now(), **how))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (list, KeptList)) and self._now() == list(other)

    def __repr__(self) -> str:
        return repr(self._now())


def storage_of(kind: Any) -> Storage:
    """How a type is kept. Raises TypeError for types that a real Slicer may know and this stand-in does not."""
    if get_origin(kind) is list and len(get_args(kind)) == 1:
        item = storage_of(get_args(kind)[0])
        if not isinstance(item, ListStorage):
            return ListStorage(item)
    if kind is bool:
        return _BoolStorage(bool, False)
    if kind in (int, float, str):
        return Storage(kind, kind())
    if kind is pathlib.Path:
        return Storage(pathlib.Path, pathlib.Path())
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _EnumStorage(kind, next(iter(kind)))
    if isinstance(kind, type) and issubclass(kind, vtk.vtkObject):
        return _NodeStorage(kind, None)
    raise TypeError(f"This stand-in keeps no {kind} in a parameter node")
