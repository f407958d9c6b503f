"""Who receives the lines and the progress of work that takes long."""

from typing import Protocol, TypeVar

P_contra = TypeVar("P_contra", contravariant=True)


class ProgressListener(Protocol[P_contra]):
    """Receives what work of one kind reports."""

    def say(self, line: str) -> None:
        """Receive one line for people."""

    def show(self, progress: P_contra) -> None:
        """Receive how far the work is; called up to a few times a second."""


class Silent:
    """A listener that drops everything."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def show(self, progress: object) -> None:
        """Drop the progress."""
