"""The guides of `docs/guides/`, run as they stand.

A guide is Markdown.  Its ```` ```sh ```` blocks are pasted, in order, into a real
shell for each machine of the guide; a ```` ```text ```` block is what one sees after the
block above it, and is compared.  What a reader does not see stands in HTML comments
directly above a block:

    <!-- values -->         the block of `NAME=value` lines that readers edit first; the
                            suite edits the same lines, and pastes it on each machine
    <!-- on: NAME -->       from here on another machine is typed on
    <!-- exit: N -->        the block ends with N, not with 0
    <!-- not run: WHY -->   the suite cannot run it; counted, so that it is not forgotten

In what is shown, a line `...` is any lines, `...` in a line is any text, and `<word>`
is one word, the same wherever it stands again, also in a later command.  Times, spans,
fingerprints and serial numbers may differ.

Start reading at `reading.py`; `shells.py` runs, `comparing.py` compares.
"""
