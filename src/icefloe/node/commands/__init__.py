"""The work behind the commands: keys, certificates, setting up, deciding."""
