"""The child: `worker.py FOLDER THRESHOLD EPOCHS`; one JSON object a line; ends with 3 when its input is closed."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np


def tell(**event):
    print(json.dumps(event), flush=True)


def stop_with_input():
    sys.stdin.read()
    os._exit(3)


def main():
    threading.Thread(target=stop_with_input, daemon=True).start()
    folder, threshold, epochs = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    image = np.load(folder / "in.npy")
    for epoch in range(1, epochs + 1):
        time.sleep(0.02)
        tell(event="metric", epoch=epoch, loss=1 / epoch)
        tell(event="progress", step=epoch, of=epochs)
    np.save(folder / "out.npy", (image > threshold).astype("uint8"))
    os._exit(0)


main()
