"""What a certificate is: profiles, fingerprints, tickets, trust (no IO).

Modules, from the ground up:

* `errors`: what can be wrong, and the reasons as data.
* `names`: which common names a node may have.
* `keys`: which keys and signature algorithms count; signing, deterministically.
* `certificates`: reading certificates, and the facts the protocol speaks of.
* `requests`: judging what is presented in order to get a certificate.
* `profiles`: making our certificates; to-be-signed bytes first, signature second.
* `revocation`: certificate revocation lists.
* `trust`: whether a certificate is to be believed, and every reason why not.
* `tickets`: Icinga's enrollment tickets.
* `canaries`: names that are no node's, and what is different for them.

Nothing here reads a clock, draws entropy, makes a key or touches a file: moments,
random bytes, keys and texts come in as arguments.  Keys are made and kept by
`icefloe.storage.keys`.
"""

from __future__ import annotations
