"""The words of IMAP that engine, core and storage share: sequence sets, fetch items, search keys, strings on the wire.

Parsed by protocol/imap, understood by core/imap. Values only, as everything in mail: no state, no I/O, no clock.
"""
