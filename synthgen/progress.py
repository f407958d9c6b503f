"""Listeners for the messages and the progress of long-running work."""

from typing import Protocol, TypeVar

P_contra = TypeVar("P_contra", contravariant=True)


class ProgressListener(Protocol[P_contra]):
    """Receives the messages and progress reports of one kind of work."""

    def say(self, line: str) -> None:
        """Receive a message of one line."""

    def show(self, progress: P_contra) -> None:
        """Receive the current progress; called up to a few times per second."""


class Silent:
    """A listener that ignores everything."""

    def say(self, line: str) -> None:
        """Ignore the message."""

    def show(self, progress: object) -> None:
        """Ignore the progress."""
