"""RunView: the button, bar, status line and log of something that runs in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _


class RunView:
    """Shows the events of a child process, and turns its start button into one that stops it.

    Parameters
    ----------
    button, bar, status, log, logGroup : the widgets.
    start, stop : texts of the button.
    onChanged : is called when something has started or ended.
    """

    def __init__(
        self,
        button: Any,
        bar: Any,
        status: Any,
        log: Any,
        logGroup: Any,
        start: str,
        stop: str,
        onChanged: Callable[[], None] = lambda: None,
    ) -> None:
        self.button, self.bar, self.status, self.log, self.logGroup = button, bar, status, log, logGroup
        self._startText, self._stopText, self._onChanged = start, stop, onChanged
        self.running = self.closed = False
        self.bar.visible = False
        self.status.visible = False
        self.button.text = start

    def begin(self, text: str) -> None:
        """Something has started."""
        self.running = True
        self.log.clear()
        self.bar.setRange(0, 0)  # a moving bar, until the first step is done
        self.bar.visible = True
        self.button.text = self._stopText
        self.button.enabled = True
        self.button.toolTip = ""
        self.say(text)
        self._onChanged()

    def close(self) -> None:
        """The widgets go away: what is told from now on is not shown."""
        self.closed = True

    def stopping(self) -> None:
        """The user asked to stop; it takes until the next step."""
        self.button.enabled = False
        self.say(_("Stopping at the next step..."))

    def end(self, text: str, problem: bool = False) -> None:
        """It has ended; a problem opens the log, which tells more."""
        if self.closed:
            return
        self.running = False
        self.bar.visible = False
        self.button.text = self._startText
        self.say(text)
        if problem:
            self.logGroup.collapsed = False
        self._onChanged()

    def say(self, text: str) -> None:
        """A sentence below the bar, and in the log."""
        if self.closed:
            return
        self.status.text = text
        self.status.visible = bool(text)
        if text:
            self.note(text)
        slicer.util.showStatusMessage(text, 3000)

    def note(self, text: str) -> None:
        """A line in the log alone."""
        if self.closed:
            return
        self.log.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def event(self, event: dict[str, Any]) -> None:
        """Show an event of the child."""
        if self.closed:
            return
        kind = event["event"]
        if kind == "progress":
            self._progress(event)
        elif kind == "metric":
            numbers = ", ".join(f"{key} {value:.3f}" for key, value in event["values"].items() if value is not None)
            self.note(_("Epoch {epoch}: {numbers}").format(epoch=event["step"], numbers=numbers))
        elif kind == "message":
            self.note(event["text"])
        elif kind == "warning":
            case = f"{event['case']}: " if event.get("case") else ""
            self.note(_("Warning: {text}").format(text=case + event["text"]))
        elif kind == "error":
            case = f"{event['case']}: " if event.get("case") else ""
            self.note(_("Error: {cause} {remedy}").format(cause=case + event["cause"], remedy=event["remedy"]))

    def _progress(self, event: dict[str, Any]) -> None:
        step, total, left = event["step"], event["of"], event.get("eta_s")
        self.bar.setRange(0, total if total > 0 else 0)  # 0: a moving bar
        self.bar.setValue(step)
        stage = {
            "copy": _("Copying the cases"),
            "prepare": _("Preparing the cases"),
            "train": _("Training"),
            "test": _("Testing on held-out cases"),
            "segment": _("Segmenting"),
            "simulate": _("Making a patient"),
            "estimate": _("Finding out how long it takes"),
            "study": _("Comparing"),
        }.get(event["stage"], event["stage"])
        text = stage
        if total > 1 and event["stage"] != "study":  # of a comparison they are thousands, which tell nobody anything
            text = _("{stage}: {step} of {total}").format(stage=stage, step=step, total=total)
        if event.get("detail"):
            text += f", {event['detail']}"
        if left is not None and step < total:
            text += _(", about {time} left").format(time=duration(left))
        self.status.text = text
        self.status.visible = True


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return _("{number} s").format(number=max(1, round(seconds)))
    if seconds < 5400:
        return _("{number} min").format(number=round(seconds / 60))
    return _("{number} h").format(number=f"{seconds / 3600:.1f}")
