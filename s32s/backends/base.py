"""What bytes by key are made of."""

from __future__ import annotations

#: A piece of a body; a view lends its memory, which is not copied.
Chunk = bytes | memoryview
