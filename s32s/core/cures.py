"""What helps against damage and a wrong layout, in words for any entry and any machine.

`agent/advice.py` knows both, and puts the name in, or says what works there instead.
"""

from __future__ import annotations

#: Stands for the name of an entry.
NAME = "NAME"
LOG = f"see s32s log {NAME}"
HEAL = "run on the master: s32s verify NAME --heal, or --rebuild where the manifest cannot be read"
REBUILD = "run on the master: s32s verify NAME --rebuild"
#: Of a prefix that holds packs and was taken for a plain one; and the other way round.
IS_PACKED = (
    'set "layout": "packed" in the entry, or convert the prefix: s32s convert NAME --layout plain; '
    "where the map says so already, fetch it: s32s maps update"
)
IS_PLAIN = (
    'take "layout": "packed" out of the entry, or convert the prefix: s32s convert NAME --layout packed; '
    "where the map says so already, fetch it: s32s maps update"
)
#: Of a manifest that objects do not fit, of one that cannot be read, and of a place that has none.
IS_STALE = 'run "s32s sync" on the master, or set "manifest": false in the entry if another tool writes there'
NO_MANIFEST = 'push again from the master with --verify, or set "manifest": false in the entry'
WITH_MANIFEST = 'set "manifest": true in the entry'
#: Of a directory that cannot be exchanged.
IN_PLACE = 'set "apply": "in-place" in the map'
#: Of packs whose head is gone, in a prefix that was taken for a plain one.
IS_LOST = f'set "layout": "packed" in the entry; then {REBUILD}'
#: Of packs in a plain prefix, and of objects beside packs.
NO_PACKS = "s32s convert NAME --layout plain on the master removes them"
NO_OBJECTS = "s32s convert NAME --layout packed on the master removes those that a conversion has left"
TO_PACKED = "convert it: s32s convert NAME --layout packed"
