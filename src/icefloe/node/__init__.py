"""The asyncio shell: TLS, listener, dialer, the daemon and the gateway."""
