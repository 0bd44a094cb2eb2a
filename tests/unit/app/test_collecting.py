"""What the composition root does beside composing."""

from __future__ import annotations

import gc

from otp_server.app.collecting import short_collections


def test_collections_are_short_only_inside() -> None:
    threshold, frozen = gc.get_threshold(), gc.get_freeze_count()
    old: list[object] = []
    old.append(old)
    with short_collections():
        assert gc.get_threshold()[0] > 10 * 256
        assert gc.get_freeze_count() > frozen
        assert not any(found is old for found in gc.get_objects())
    assert gc.get_threshold() == threshold
    assert any(found is old for found in gc.get_objects())
