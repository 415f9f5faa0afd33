"""What Qt 6 has and Qt 5.15 has not, or PythonQt does not show: a module that uses it would fail in a real Slicer.

Found by asking a real PythonQt 4.1 (Qt 5.15) for every name that PySide6 shows.
"""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

__all__ = ["CLASSES", "is_hidden", "is_method_in_qt5"]

CLASSES = {
    "QVersionNumber",
    "QPluginLoader",
    "QDirListing",
    "QRangeModel",
    "QPermission",
    "QInputDevice",
    "QIODeviceBase",
}

_NAMES = {
    "QObject": "connectNotify disconnectNotify isQmlExposed isQuickItemType",
    "QWidget": """accessibleIdentifier setAccessibleIdentifier create encodeMetricF find internalWinId isTopLevel
        painters setScreen topLevelWidget updateMicroFocus""",
    "QAbstractItemView": """closeEditor commitData currentChanged dataChanged editorDestroyed horizontalScrollbarAction
        horizontalScrollbarValueChanged initViewItemOption itemDelegateForIndex keyboardSearchFlags
        rowsAboutToBeRemoved rowsInserted selectionChanged setKeyboardSearchFlags setUpdateThreshold updateEditorData
        updateEditorGeometries updateGeometries updateThreshold verticalScrollbarAction verticalScrollbarValueChanged
        columnCountChanged columnMoved columnResized setSupportedDragActions supportedDragActions rowCountChanged
        rowMoved rowResized itemDecorationRect reexpand rowsRemoved""",
    "QAbstractSpinBox": "returnPressed",
    "QAbstractItemModel": "checkIndex multiData resetInternalData clearItemData",
    "QSortFilterProxyModel": """DataChangeRelevanceFlag Direction autoAcceptChildRows beginFilterChange endFilterChange
        invalidateColumnsFilter invalidateRowsFilter setAutoAcceptChildRows""",
    "QAction": "associatedObjects checkableChanged enabledChanged resetEnabled visibleChanged",
    "QByteArray": """assign cbegin cend erase first fromRawData isValidUtf8 last maxSize nullTerminate nullTerminated
        percentDecoded removeAt removeFirst removeLast slice sliced toLong toLongLong toUInt""",
    "QCheckBox": "checkStateChanged",
    "QColor": "fromString getHsv getHsvF getRgb getRgbF isValidColorName toTuple",
    "QComboBox": "LabelDrawingMode labelDrawingMode setLabelDrawingMode",
    "QDate": "toPython",
    "QDateTime": "TransitionResolution addDuration timeRepresentation toPython",
    "QDateTimeEdit": "setTimeZone timeZone",
    "QDockWidget": "dockLocation setDockLocation",
    "QEvent": "clone isInputEvent isPointerEvent isSinglePointEvent",
    "QFileInfo": "fileTime isAlias isOther junctionTarget readSymLink stat",
    "QFont": "Tag clearFeatures featureTags legacyWeight setFeature setLegacyWeight setVariableAxis",
    "QFormLayout": "isRowVisible setRowVisible",
    "QIcon": "ThemeIcon",
    "QIODevice": "readLineInto skipData",
    "QLayout": """align getContentsMargins horizontalSizeConstraint setHorizontalSizeConstraint setSizeConstraints
        setVerticalSizeConstraint totalMinimumHeightForWidth unsetContentsMargins verticalSizeConstraint""",
    "QMenu": "menuInAction",
    "QMessageBox": "Option buttonText options setButtonText setOption setOptions standardIcon testOption",
    "QMouseEvent": "position globalPosition scenePosition points point pointCount pointingDevice",
    "QPixmap": "deviceIndependentSize encodeMetricF fromImageInPlace painters",
    "QPoint": "toTuple",
    "QProcess": """UnixProcessFlag UnixProcessParameters failChildProcessModifier setUnixProcessParameters startCommand
        unixProcessParameters""",
    "QSize": "toTuple",
    "QSplitter": "getRange",
    "QStackedWidget": "widgetAdded",
    "QThread": "QualityOfService isCurrentThread isMainThread serviceLevel setServiceLevel",
    "QTime": "toPython",
    "QTimer": "id intervalAsDuration remainingTimeAsDuration",
}
_HIDDEN = {name: set(names.split()) for name, names in _NAMES.items()}


def is_hidden(qt_class: type, name: str) -> bool:
    """Whether Qt 5 or PythonQt has no such member. What a stand-in class declares itself is never hidden."""
    for kind in qt_class.__mro__:
        if name in _HIDDEN.get(kind.__name__, ()):
            return True
        if name in vars(kind) and not kind.__module__.startswith("PySide6."):
            return False
    return False


def is_method_in_qt5(qt: QtCore.QObject, name: str) -> bool:
    """Properties of Qt 6 that Qt 5 has as methods; and QTimer.singleShot, which the static method hides."""
    if name == "contentsMargins":
        return isinstance(qt, QtWidgets.QLayout)
    return name == "singleShot" and isinstance(qt, QtCore.QTimer)
