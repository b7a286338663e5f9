"""TLS over asyncio: contexts, handshakes, streams, listening and connecting."""
