"""What a command said and how it ended: events from the pieces of text in which they arrive, and the Outcome."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from TransferSegLib.errors import TransferSegError

CODE_CANCELLED, CODE_CRASHED = 3, -1

# A line of the command has some hundred bytes; without end, a longer one is something else.
_LONGEST_LINE = 2**20
_LOG_BYTES = 20_000


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes
    ----------
    code : 0 all done, 1 some cases failed, 2 bad input, 3 cancelled, 4 out of memory or disk; -1: it crashed or could
        not be started.
    result : the values of all "result" events together.
    errors : the "error" events: kind, cause, remedy and case (all str). A crash is one of them, of the kind "crash".
    log : the last lines of what else it said, for bugs.
    """

    code: int
    result: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Mapping[str, str], ...] = ()
    log: str = ""

    @classmethod
    def of(cls, error: TransferSegError) -> Outcome:
        """As if the command had told this error."""
        return cls(error.exit_code, errors=({"kind": error.kind, "cause": error.cause, "remedy": error.remedy},))

    @property
    def ok(self) -> bool:
        """Whether all is done."""
        return self.code == 0

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped on request."""
        return self.code == CODE_CANCELLED

    @property
    def message(self) -> str:
        """What to tell the user: cause and remedy of the last error, or what the code means; empty when all is done."""
        if self.ok:
            return ""
        if self.errors:
            case, cause, remedy = (self.errors[-1].get(name, "") for name in ("case", "cause", "remedy"))
            if cause:
                return (f"{case}: " if case else "") + f"{cause} {remedy}".strip()
        meanings = {
            1: _("Some cases failed."),
            2: _("The input cannot be used."),
            CODE_CANCELLED: _("Stopped on request."),
            4: _("Memory or disk space ran out."),
        }
        return meanings.get(self.code) or _("The calculation ended unexpectedly.")


class Transcript:
    """Gathers what a command says."""

    def __init__(self) -> None:
        self._output, self._searched, self._complete = bytearray(), 0, False
        self._log = bytearray()
        self._result: dict[str, Any] = {}
        self._errors: list[dict[str, str]] = []

    def feed(self, output: bytes) -> None:
        """The next piece of standard output, which may end anywhere."""
        self._output += output

    def note(self, text: bytes) -> None:
        """The next piece of standard error. The last lines are kept."""
        self._log += text[-_LOG_BYTES:]
        del self._log[:-_LOG_BYTES]

    def close(self) -> None:
        """No more will come: what is left is a line."""
        self._complete = True

    def lines(self) -> Iterator[dict[str, Any] | None]:
        """For each complete line its event; None for one that is no event, which goes to the log."""
        while (line := self._nextLine()) is not None:
            event = _event(line)
            if event is None:
                self.note(line + b"\n")
            elif event["event"] == "result" and isinstance(event.get("values"), dict):
                self._result.update(event["values"])
            elif event["event"] == "error":
                self._errors.append({name: str(event.get(name) or "") for name in ("kind", "cause", "remedy", "case")})
            yield event

    def crash(self, cause: str, remedy: str) -> None:
        """The command ended, or did not start, for a reason that it could not tell."""
        self._errors.append({"kind": "crash", "cause": cause, "remedy": remedy, "case": ""})

    def outcome(self, code: int | None, stopping: bool) -> Outcome:
        """What the exit code means with all that was said.

        Parameters
        ----------
        code : None when the process died of something else.
        stopping : whether it was asked to stop; then however it ends, it was stopped.
        """
        # Python's own exit code after a bug is 1, and so is that of Slicer's launcher after a crash.
        if code not in (0, 2, CODE_CANCELLED, 4) and not (code == 1 and self._errors):
            code = CODE_CANCELLED if stopping else CODE_CRASHED
        if code == CODE_CRASHED and not any(error["kind"] == "crash" for error in self._errors):
            last = self._logText().rpartition("\n")[2].strip(" .")
            cause = _("The calculation ended unexpectedly: {reason}.").format(reason=last)
            self.crash(
                cause if last else _("The calculation ended unexpectedly."),
                _("If the memory was full, close other programs. Else please report it with the log."),
            )
        return Outcome(code, self._result, tuple(self._errors), self._logText())

    def _nextLine(self) -> bytes | None:
        output = self._output
        end = output.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(output)
            if not output or (not self._complete and len(output) < _LONGEST_LINE):
                return None
            end = len(output)
        line = bytes(output[:end])
        del output[: end + 1]
        self._searched = 0
        return line

    def _logText(self) -> str:
        text = self._log.decode(errors="replace")
        return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
