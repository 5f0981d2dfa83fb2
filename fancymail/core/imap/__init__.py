"""IMAP's decisions: what a session sees, what it is told and when, what a message looks like on the wire.

Asked by servers/imap and, for what is computed once per message, by fm-mailbox. Pure: values in, octets out; what has to be read comes from a
Reader (storage/ports/reader.py). No socket, no clock, no event loop.
"""
