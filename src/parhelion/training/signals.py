"""Ctrl-C and SIGTERM: asked once, the running step is finished first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Signals:
    """Turns SIGINT and SIGTERM into a request while `deferred`, and into KeyboardInterrupt otherwise.

    A second signal of the same kind interrupts at once (torchrun answers one Ctrl-C with both kinds). Outside the main
    thread, where Python allows no handlers, nothing changes.

    Attributes
    ----------
    deferred
        True while a request is enough.
    requested
        True after a signal. One that came while not `deferred` has interrupted already, unless Python was running a
        destructor: what is raised there is lost and only printed, so it is left to the first step to see the request.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.requested = False
        self._seen: set[int] = set()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = number in self._seen
        self.requested = True
        self._seen.add(number)
        if (again or not self.deferred) and not _in_destructor(frame):
            raise KeyboardInterrupt


def _in_destructor(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
