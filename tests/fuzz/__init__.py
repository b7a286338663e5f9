"""Coverage-guided fuzzing of everything that reads what others wrote.

`targets/` holds one module per parser: what an input means, and what must hold for it.
The same functions run in two ways:

* `make test` replays the committed inputs (`corpus/`, and the hand-made `SEEDS` of each
  target) with pytest alone (`test_corpus.py`);
* `make fuzz` looks for new ones with atheris (`campaign.py`).

They live below `tests/` because a replay is a test, and they use the tests' makers of
certificates, sessions and cores.
"""
