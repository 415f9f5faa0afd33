# ruff: noqa: N802, N803, N815
"""@parameterNodeWrapper: typed attributes kept in a vtkMRMLScriptedModuleNode and bound to widgets."""

from __future__ import annotations

import typing
from typing import Annotated, Any, get_args, get_origin

import slicer
import vtk

from .annotations import Default, Validator
from .connectors import Connector, connector_of
from .storage import Storage, storage_of

__all__ = ["SlicerParameterNamePropertyName", "isParameterNodeWrapper", "parameterNodeWrapper"]

SlicerParameterNamePropertyName = "SlicerParameterName"
_RESERVED = {"parameterNode", "allParameters", "default", "dataType", "getValue", "setValue", "connectGui"}


class _Parameter:
    """One typed attribute of the class."""

    def __init__(self, name: str, annotation: Any, default: Default | None) -> None:
        parts = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
        self.name, self.kind, self.annotations = name, parts[0], tuple(parts[1:])
        self.unalteredType = annotation
        self.storage: Storage = storage_of(self.kind)
        own = next((a for a in self.annotations if isinstance(a, Default)), None)
        self.default = default or own or Default(self.storage.first)

    def __get__(self, owner: Any, _class: type | None = None) -> Any:
        return self if owner is None else self.storage.read(owner.parameterNode, self.name)

    def __set__(self, owner: Any, value: Any) -> None:
        self.storage.check(value)
        for validator in self.annotations:
            if isinstance(validator, Validator) or (isinstance(validator, type) and issubclass(validator, Validator)):
                validator.validate(value)
        with slicer.util.NodeModify(owner.parameterNode):
            self.storage.write(owner.parameterNode, self.name, value)


class _Methods:
    """What every parameter node wrapper can do."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if prefix is not None:
            raise TypeError("This stand-in knows no prefixes of parameter nodes")
        self.parameterNode = parameterNode
        self._bound: dict[int, tuple[int, list[tuple[Connector, Any]]]] = {}
        self._updating = False
        for parameter in self.allParameters.values():
            if not parameter.storage.has(parameterNode, parameter.name):
                parameter.__set__(self, parameter.default.value)

    def _known(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def default(self, name: str) -> Default:
        """The first value."""
        return self._known(name).default

    def isCached(self, name: str) -> bool:
        """Whether a real Slicer keeps the value in Python too: so for all types that this stand-in knows."""
        return bool(self._known(name))

    @classmethod
    def dataType(cls, name: str) -> Any:
        """The annotated type."""
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return cls.allParameters[name].unalteredType

    def getValue(self, name: str) -> Any:
        """A value by its name."""
        self._known(name)
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        """Set a value by its name."""
        self._known(name)
        setattr(self, name, value)

    def connectGui(self, gui: Any) -> int:
        """Bind all widgets with the property SlicerParameterName; a tag to undo it."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren("QWidget") if is_widget else vars(gui).values()
        named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({name: w for name, w in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets given by parameter name; a tag to undo it."""
        links: list[tuple[Connector, Any]] = []
        connectors = {}
        for name, widget in mapping.items():
            parameter = self._known(name)
            connectors[name] = connector_of(widget, parameter.kind, parameter.annotations)
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            changed = self._listener(name, connector)
            if connector.signal:
                connector.widget.connect(connector.signal, changed)
            links.append((connector, changed))

        def update(_caller: Any, _event: str) -> None:
            self._update(connectors)

        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
        self._bound[tag] = (tag, links)
        return tag

    def _listener(self, name: str, connector: Connector) -> Any:
        def changed() -> None:
            if not self._updating:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return changed

    def _update(self, connectors: dict[str, Connector]) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag: int) -> None:
        """Undo connectGui()."""
        for connector, changed in self._bound.pop(tag, (0, []))[1]:
            if connector.signal and connector.widget:
                connector.widget.disconnect(connector.signal, changed)
        self.RemoveObserver(tag)

    def StartModify(self) -> int:
        """As of the node."""
        return int(self.parameterNode.StartModify())

    def EndModify(self, before: int) -> int:
        """As of the node."""
        return int(self.parameterNode.EndModify(before))

    def Modified(self) -> None:
        """As of the node."""
        self.parameterNode.Modified()

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """As of the node."""
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        """As of the node."""
        self.parameterNode.RemoveObserver(tag)


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator."""
    return _wrapped if classtype is None else _wrapped(classtype)


def _wrapped(classtype: type) -> type:
    hints = typing.get_type_hints(classtype, include_extras=True)
    taken = _RESERVED & set(hints)
    if taken:
        raise ValueError(f"Cannot use reserved name '{taken.pop()}' in a parameterNodeWrapper")
    parameters: dict[str, _Parameter] = {}
    for name, annotation in hints.items():
        default = Default(vars(classtype)[name]) if name in vars(classtype) else None
        parameters[name] = _Parameter(name, annotation, default)
        setattr(classtype, name, parameters[name])
    for name, value in vars(_Methods).items():
        if not name.startswith("__") or name == "__init__":
            setattr(classtype, name, value)
    classtype.allParameters = parameters  # type: ignore[attr-defined]
    classtype._is_parameter_node_wrapper = True  # type: ignore[attr-defined]
    return classtype


def isParameterNodeWrapper(thing: Any) -> bool:
    """Whether a class or object is one."""
    return bool(getattr(thing, "_is_parameter_node_wrapper", False))
