"""MemoryStore: the verified fake. The same sentences as the real stores, in dictionaries.

    lifetime       entering and closing
    devices        devices, organisations, device codes and guesses
    settings       API clients; challenge types, routes, templates
    process_state  processes, messages and claims, and what the next three share
    attempts       counting and settling attempts
    outbox         messages on their way
    processes      starting, searching and sweeping processes
    accounts       accounts and their sessions
    resets         secrets beside processes, changes of passwords
    audit          the chained trail

Every method is a Trio checkpoint before it changes anything and never after: cancelled means not
applied, and a method is atomic because nothing else runs in between. Nothing outlives the process.
"""

from __future__ import annotations

from otp_server.stores.memory.devices import MemoryDevices
from otp_server.stores.memory.resets import MemoryResets

__all__ = ["MemoryStore"]


class MemoryStore(MemoryDevices, MemoryResets):
    """A store of this process alone, for tests and trials."""
