"""slicer.parameterNodeWrapper for the types that a panel binds; everything else is refused."""

from __future__ import annotations

from types import ModuleType

__all__ = ["parameter_node_module"]


def parameter_node_module() -> ModuleType:
    """`slicer.parameterNodeWrapper`."""
    from . import annotations, wrapper

    module = ModuleType("slicer.parameterNodeWrapper", "Typed parameter nodes (a stand-in for the usual types).")
    public = [*annotations.__all__, *wrapper.__all__]
    for name in public:
        setattr(module, name, getattr(annotations, name, None) or getattr(wrapper, name))
    module.__all__ = public  # type: ignore[attr-defined]
    return module
