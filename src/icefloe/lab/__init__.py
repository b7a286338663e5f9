"""Load, faults, stories and peers with old habits, on one machine.

Storm, abuse, chaos, fault proxy and demo; it runs and reports the simulator, too.
"""
