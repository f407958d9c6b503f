"""Progress of long work for Python programs: log records of level INFO, and nothing on the terminal."""

import logging
from typing import Any

LOGGER = logging.getLogger("synthgen")


class LogListener:
    """A listener of runs, trainings and transfers that logs lines and drops progress."""

    def say(self, line: str) -> None:
        """Log a line."""
        LOGGER.info("%s", line)

    def show(self, progress: Any) -> None:
        """Drop the progress."""
