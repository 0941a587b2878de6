"""The state of a worker that follows `serving.json`: generations, and versions that it cannot load."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class FollowingStatus:
    """The state of one worker.

    wanted_generation: the generation of `serving.json`. serving_generation: the last generation that this worker serves
    completely.

    problems: why versions or the file cannot be used, by tag or file name. The previous versions are served in their
    place.
    """

    wanted_generation: int = 0
    serving_generation: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str | None:
        """All problems in one line; None without problems."""
        return "; ".join(self.problems.values()) or None
