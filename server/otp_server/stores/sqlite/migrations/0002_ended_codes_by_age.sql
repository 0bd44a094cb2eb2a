-- An index of ended codes that does not grow dearer with them.
-- Digests are random, so each code of a batch went to a page of its own of an index over all of
-- them. Here 2048 codes issued one after another share a part of the index: a batch writes a few
-- pages at its end, and a look-up asks each part.

DROP INDEX device_codes_ended_digest;
CREATE INDEX device_codes_digest ON device_codes (seq >> 11, digest);
