"""Every size that bounds what a peer can make this node hold or build.

The first three are Icinga 2's own (protocol: "Size limits" and "Framing"), so a real
peer never meets a limit here that it would not meet at another Icinga node.
"""

from __future__ import annotations

from typing import Final

NETSTRING_BYTES_MAX: Final = 999_999_999
"""Largest payload a frame can announce: nine decimal digits."""

ANONYMOUS_MESSAGE_BYTES_MAX: Final = 1_048_576
"""Largest payload from a peer that is no member.  Exactly this size is accepted."""

CHILD_MESSAGE_BYTES_MAX: Final = 16_777_216
"""Largest payload from a member outside our own zone and our ancestors' zones.

Icinga 2.15.6 and 2.16.5 enforce it, so it is also the most we may send upward.
"""

NESTING_DEPTH_MAX: Final = 32
"""Objects and arrays inside each other, the outermost object counted.

Icinga 2.14.9 and later treat depth 33 as malformed JSON (GHSA-wh38-wg57-5w7g).
"""

CONTAINERS_MAX: Final = 100_000
"""Objects and arrays in one message, whatever their depth.

Ours, not Icinga's.  An object of eight bytes (`{"a":1},`) becomes 232 bytes in memory,
so 16 MiB of them would become half a gigabyte.  The largest real messages are file
texts and performance data: many bytes, few containers.
"""

HEAD_BYTES: Final = 4096
"""How much of the start of a discarded frame is kept: enough to hold its method."""

TAIL_BYTES: Final = 512
"""How much of the end of a discarded frame is kept: enough to hold its `ts`."""
