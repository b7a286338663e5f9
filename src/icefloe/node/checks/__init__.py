"""Monitoring plugins: what `icefloe check` finds out, judged and worded."""
