"""ModelPicker: the list of models, with a search box and the card of the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from TransferSegLib.case_files import CHANNELS
from TransferSegLib.errors import TransferSegError
from TransferSegLib.registry import Entry, list_models

_ROWS = 5


class ModelPicker:
    """Widgets that choose a model by name.

    Parameters
    ----------
    frame : receives the widgets; it has a layout.
    onChosen : is called with the name when the user chooses another one.
    cardOpen : whether the card is shown from the start.
    """

    def __init__(self, frame: Any, onChosen: Callable[[str], None], cardOpen: bool = False) -> None:
        self._onChosen = onChosen
        self.entries: dict[str, Entry] = {}
        self.search = ctk.ctkSearchBox()
        self.search.placeholderText = _("Search models")
        self.list = qt.QListWidget()
        self.list.setMaximumHeight(self.list.fontMetrics().height() * (_ROWS + 1))
        self.cardGroup = ctk.ctkCollapsibleButton()
        self.cardGroup.text = _("Card of the model")
        self.cardGroup.collapsed = not cardOpen
        self.card = qt.QTextBrowser()
        self.card.setOpenExternalLinks(True)
        self.card.setMinimumHeight(260)
        cardLayout = qt.QVBoxLayout(self.cardGroup)
        cardLayout.addWidget(self.card)
        for widget in (self.search, self.list, self.cardGroup):
            frame.layout().addWidget(widget)
        self.search.connect("textChanged(QString)", self._filter)
        self.list.connect("currentRowChanged(int)", self._rowChanged)
        self.refresh()

    @property
    def name(self) -> str:
        """Of the chosen model; empty when none is."""
        item = self.list.currentItem()
        return item.data(qt.Qt.UserRole) if item is not None else ""

    @property
    def entry(self) -> Entry | None:
        """Of the chosen model."""
        return self.entries.get(self.name)

    def select(self, name: str) -> None:
        """Choose a model without telling anyone; a name that is not there chooses none."""
        was = self.list.blockSignals(True)
        self.list.setCurrentRow(list(self.entries).index(name) if name in self.entries else -1)
        self.list.blockSignals(was)
        self._showCard()

    def refresh(self) -> None:
        """Read the models again; the chosen one stays if it is still there."""
        chosen = self.name
        was = self.list.blockSignals(True)
        self.list.clear()
        self.entries = {entry.name: entry for entry in list_models()}
        for entry in self.entries.values():
            item = qt.QListWidgetItem(
                entry.name if entry.problem is None else _("{name} (cannot be used)").format(name=entry.name)
            )
            item.setData(qt.Qt.UserRole, entry.name)
            item.setToolTip(entry.problem or entry.title)
            if entry.problem is not None:
                item.setForeground(qt.QBrush(qt.QColor(150, 60, 60)))
            self.list.addItem(item)
        self.list.blockSignals(was)
        self._filter(self.search.text)
        self.select(chosen)

    def _filter(self, text: str) -> None:
        """Show the models whose name, title or description has every word of ``text``."""
        words = text.lower().split()
        for row, entry in enumerate(self.entries.values()):
            found = f"{entry.name} {entry.title} {entry.origin}".lower()
            self.list.item(row).setHidden(not all(word in found for word in words))

    def _rowChanged(self, row: int) -> None:
        self._showCard()
        self._onChosen(self.name)

    def _showCard(self) -> None:
        entry = self.entry
        if entry is None:
            self.card.setPlainText(_("Choose a model."))
        elif entry.problem is not None:
            self.card.setPlainText(_("This model cannot be used. {problem}").format(problem=entry.problem))
        else:
            self.card.setMarkdown(cardText(entry))


def cardText(entry: Entry) -> str:
    """The card as Markdown."""
    from TransferSegLib.bundle import read_bundle
    from TransferSegLib.readme import render_readme

    try:
        return render_readme(read_bundle(entry.path).card)
    except TransferSegError as error:
        return str(error)


def firstChoice(*preferred: str) -> str:
    """The first of these models that can be used, otherwise any that can; empty when there is none."""
    usable = [entry.name for entry in list_models() if entry.problem is None]
    return next((name for name in (*preferred, *usable) if name in usable), "")


@dataclass(frozen=True)
class Needs:
    """What a model asks for: its channels, and the size of its network."""

    channels: tuple[str, ...] = CHANNELS
    baseFilters: int = 4
    steps: int = 4


def needsOf(entry: Entry | None) -> Needs:
    """What stands on the card of a model; of a card that cannot be read, what the shipped models need."""
    if entry is None or entry.problem is not None:
        return Needs()
    from TransferSegLib.bundle import read_bundle

    card = read_bundle(entry.path).card
    return Needs(tuple(card.channels), card.network.base_filters, card.network.steps)
