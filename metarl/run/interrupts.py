"""SIGTERM and Ctrl-C as a question that the loop asks between dispatches."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class Interrupts:
    """A context that remembers SIGTERM and SIGINT instead of dying of them; a second Ctrl-C still kills at once.

    The handlers that were there before come back when the context is left. Outside the main thread, where Python allows
    no handlers, the context does nothing.

    Attributes:
        received: number of the first signal, or 0.
    """

    def __init__(self, last_words: Callable[[], Any]):
        """Makes the context; `last_words` is called before a second Ctrl-C ends the process."""
        self.received = 0
        self._last_words = last_words
        self._num_interrupts = 0
        self._previous = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)  # None: set by someone outside Python

    def agreed(self) -> int:
        """Returns the signal to obey, or 0; the same for all processes of a run, which must call this together."""
        if jax.process_count() == 1:
            return self.received
        return int(np.max(multihost_utils.process_allgather(np.int32(self.received))))

    def _receive(self, signum: int, frame: Any) -> None:
        self.received = self.received or signum
        self._num_interrupts += signum == signal.SIGINT
        if self._num_interrupts == 2:
            self._last_words()
            # An exception would not do: the interpreter waits for the running computation before it exits.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
