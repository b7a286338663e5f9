"""What a whole fleet looks like from outside: survey, verdicts, advisories.

    targets, inventory    whom to look at: texts in, targets out       no IO
    reading               the files behind them
    survey, greeting      one anonymous TLS connection to each node    the wire
    sightings             what was seen there                          no IO
    states, verdicts      what it means                                no IO
    report, repair        what is told of it, and written              no IO
    releases, advisories  versions against the published defects       no IO
    nodes                 what each one runs, and what concerns it     no IO
    upgrades              in which order to upgrade                    no IO

Nothing here asks a node for anything or changes one.
"""
