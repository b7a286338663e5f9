"""Icinga's configuration files: read, write, back up.

From the bottom up: `source` (text with positions), `lexer`, `syntax`, `parser` and
`evaluator` turn text into constants and objects; `printer` is the way back.  `schema`
knows what attributes an object may have.  These are pure functions over text.

`layout` names the files of one node, `sources` reads them, `model` makes one
`NodeConfiguration` of them, `declarations` looks for what an enrollment node must not
overlook elsewhere in the configuration.  `edits`, `setup` and `features` plan changes;
they return what to write and never write it themselves.
"""
