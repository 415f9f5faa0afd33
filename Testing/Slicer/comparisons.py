"""A stand-in for the command ``transferseg compare``, for tests: quick, and with an answer that the test chooses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from TransferSegBridge import comparing, worker

TRAININGS = 6
ANSWER = {
    "strategy": "decoder",
    "verdict": "clear",
    "probability": 0.97,
    "sentences": ["Use the strategy decoder: its Dice is 0.71.", "With 8 patients 0.75 is expected & <likely>."],
}

# Trains one network after the other, each of which takes no time, and goes on where it was stopped. It waits before the
# training number "hold" until it is stopped or the file "go" is there.
_PROGRAM = """
import json, os, sys, time
folder, args = sys.argv[1], sys.argv[2:]
with open(os.path.join(folder, "orders.json"), encoding="utf-8") as file: orders = json.load(file)
with open(os.path.join(folder, "calls.jsonl"), "a", encoding="utf-8") as file: file.write(json.dumps(args) + "\\n")
def value(name): return args[args.index(name) + 1]
def tell(event, **values): print(json.dumps({"event": event, **values}), flush=True)
def fail(error, code):
    tell("error", case="", **error)
    sys.exit(code)
out, of = value("--out"), orders["trainings"]
counter = os.path.join(out, "done.txt")
done = int(open(counter).read()) if os.path.exists(counter) else 0
if "--dry-run" in args:
    if orders["refuse"]: fail(orders["refuse"], 2)
    if orders["estimate"]: tell("result", values={"trainings": of, "done": done, "seconds": 5400.0 * (1 - done / of)})
    sys.exit(0)
os.makedirs(out, exist_ok=True)
tell("progress", stage="prepare", step=4, of=4, eta_s=0, detail="")
while done < of:
    tell("progress", stage="study", step=100 * done, of=100 * of, eta_s=60.0 * (of - done),
         detail="fold-0/seed-0/n-003/decoder/final")
    while done == orders["hold"] and not os.path.exists(os.path.join(folder, "go")):
        if os.path.exists(value("--cancel-file")): fail({"kind": "cancelled", "cause": "Stopped.", "remedy": ""}, 3)
        time.sleep(0.01)
    if orders["crash"]: sys.exit("Segmentation fault")
    done += 1
    with open(counter, "w") as file: file.write(str(done))
for name in orders["failed"]: tell("error", kind="resource", cause="The memory is full.", remedy="", case=name)
report = os.path.join(out, "report.html")
with open(report, "w") as file: file.write("<html>")
failed = len(orders["failed"])
tell("result", values={"report": report, "trainings": of - failed, "failed": failed, **orders["answer"]})
sys.exit(1 if failed else 0)
"""


class Command:
    """What the stand-in does, and how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._orders: dict[str, Any] = {}
        self.order()

    def order(self, **orders: Any) -> None:
        """Do otherwise from the next call on: ``hold``, ``answer``, ``refuse``, ``crash``, ``failed``, ``estimate``."""
        usual = {"trainings": TRAININGS, "hold": -1, "refuse": None, "crash": False, "failed": [], "estimate": True}
        self._orders = {**usual, "answer": ANSWER, **self._orders, **orders}
        (self.folder / "orders.json").write_text(json.dumps(self._orders), "utf-8")

    def release(self) -> None:
        """Where it is held it goes on."""
        (self.folder / "go").touch()

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call."""
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []

    def worker(self, arguments: Any, onEvent: Any = worker.ignore, onFinished: Any = worker.ignore) -> worker.Worker:
        """Instead of ``Worker``."""
        program = [sys.executable, "-X", "utf8", "-c", _PROGRAM, str(self.folder)]
        return worker.Worker(arguments, onEvent, onFinished, program)

    def takePlace(self, monkeypatch: Any) -> Command:
        """From now on comparing calls the stand-in."""
        monkeypatch.setattr(comparing, "Worker", self.worker)
        return self
