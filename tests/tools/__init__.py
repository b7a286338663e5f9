"""What automation runs to enroll a node, word for word, with Icefloe as its `icinga2`.

Start reading at `sequences.py` (the five tools, as data), then `cells.py` (how each of
them ends after each kind of trouble, behind each kind of parent).
"""
