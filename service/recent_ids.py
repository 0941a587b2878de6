"""Finds request ids that clients send more than once."""

KEPT = 20_000


class RecentIds:
    """Stores at least the last KEPT ids. It is used on the event loop."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()

    def add(self, request_id: bytes) -> bool:
        """Store an id. Returns False if it is not new."""
        if request_id in self._new or request_id in self._old:
            return False
        self._new.add(request_id)
        if len(self._new) >= self._kept:
            self._old, self._new = self._new, set()
        return True

    def forget(self, request_id: bytes) -> None:
        """Forget an id, because its request is handled again."""
        self._new.discard(request_id)
        self._old.discard(request_id)
