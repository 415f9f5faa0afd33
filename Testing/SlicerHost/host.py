"""start_host(): makes `import slicer, qt, ctk` work as in Slicer's Python. In a real Slicer it does nothing."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = ["is_real_slicer", "load_module", "start_host"]

_state: dict[str, Any] = {}


def is_real_slicer() -> bool:
    """Whether this Python runs inside a real Slicer."""
    slicer = sys.modules.get("slicer")
    return slicer is not None and hasattr(slicer, "app") and "application" not in _state


def start_host(
    module_paths: Iterable[str | os.PathLike[str]] = (), *, main_window: bool = True, testing: bool = True
) -> ModuleType:
    """The module `slicer`. Starts the stand-in when there is no real one; once per process.

    `module_paths` are files of scripted modules to load, as a real Slicer would by --additional-module-paths;
    the others stand for --no-main-window and --testing.
    """
    if not is_real_slicer() and not _state:
        _start(main_window, testing)
    import slicer

    if not is_real_slicer():
        for path in module_paths:
            load_module(path)
        _state["application"].startupCompleted.emit()
    return slicer


def load_module(path: str | os.PathLike[str]) -> Any:
    """Load a scripted module into the stand-in, if it is not loaded yet; its object in slicer.modules."""
    import slicer

    from .modules import load_scripted_module

    name = os.path.splitext(os.path.basename(path))[0]
    known = getattr(slicer.modules, name.lower(), None)
    return known or load_scripted_module(slicer.app.moduleManager()._qt, path)


def _start(main_window: bool, testing: bool) -> None:
    # PySide6 6.12 gives a reference to True away with every signal that Python emits, and one to None with every turn
    # of the event loop; before 3.12 Python ends itself when none is left. Here are some to give.
    if sys.version_info < (3, 12):
        for shared in (True, None):
            ctypes.c_ssize_t.from_address(id(shared)).value += 1 << 40
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import slicer

    _remove_what_slicer_has_not(slicer)
    for name in ("modules", "moduleNames"):
        module = ModuleType(f"slicer.{name}")
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    from .app import qSlicerApplication
    from .pythonqt.namespace import FlatModule, qt_module
    from .pythonqt.values import wrap
    from .pythonqt.wrapper import wrapper_class

    application = qSlicerApplication(main_window=main_window, testing=testing)
    _state["application"] = application
    sys.modules["qt"] = qt_module()
    widgets = _widgets()
    ctk = {name: wrapper_class(widget) for name, widget in widgets.items() if name.startswith("ctk")}
    sys.modules["ctk"] = FlatModule("ctk", "Widgets of CTK (stand-ins).", (), ctk)
    for name, widget in widgets.items():
        if name.startswith("q"):
            setattr(slicer, name, wrapper_class(widget))
    slicer.app = _state["app"] = wrap(application)
    slicer.mrmlScene = application.mrmlScene()
    application.assemble()
    _add_python_modules(slicer)
    if main_window:
        from .widgets.module_widget import qSlicerMainWindow

        _state["main window"] = qSlicerMainWindow()


def _remove_what_slicer_has_not(slicer: ModuleType) -> None:
    """The wheel puts the functions of slicer.util into slicer itself; a real Slicer does not."""
    import slicer.util

    for name in list(vars(slicer)):
        same = getattr(slicer.util, name, None) is getattr(slicer, name)
        if same and not name.startswith(("_", "vtk")) and not isinstance(getattr(slicer, name), ModuleType):
            delattr(slicer, name)


def _widgets() -> dict[str, type]:
    """All stand-in widgets by name; they are made known to .ui files too."""
    from .modules import qSlicerScriptedLoadableModule
    from .pythonqt.ui_loader import register_widget
    from .widgets import ctk, module_widget, node_combo_box, scene, tables

    widgets = {widget.__name__: widget for widget in ctk.WIDGETS}
    for source in (scene, node_combo_box, tables, module_widget):
        widgets |= {name: getattr(source, name) for name in source.__all__ if name.startswith("q")}
    for widget in widgets.values():
        register_widget(widget)
    return widgets | {"qSlicerScriptedLoadableModule": qSlicerScriptedLoadableModule}


def _add_python_modules(slicer: ModuleType) -> None:
    from .extensions import packaging_module
    from .parameter_node import parameter_node_module
    from .sample_data import sample_data_module
    from .scripted import i18n_module, scripted_loadable_module

    makers = (packaging_module, i18n_module, scripted_loadable_module, parameter_node_module)
    for module in (make() for make in makers):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.removeprefix("slicer."), module)
    sys.modules["SampleData"] = sample_data_module()
