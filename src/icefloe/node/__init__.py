"""The asyncio shell: TLS, listener, dialer, supervisor, composition."""
