"""The ledger on SQLite and the files of a node's identity."""
