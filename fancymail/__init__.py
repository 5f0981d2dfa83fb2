"""FancyMail: a mail suite of small daemons that talk to each other in documented messages.

The floors, from the ground up (who may import whom is held by import-linter, see setup.cfg):

    mail      the words of the field: values only, standard library only, no I/O
    base      what any daemon needs, mail or not: settings, log, metrics
    ipc       the conversation: message, verb, server, client, security
    storage   engines that keep things, behind the ports that core may ask
    protocol  the engines of SMTP, POP3 and SASL: bytes in, events out; no I/O, no clock
    core      decisions: accounts, mailboxes, queue, routing, schedule
    servers   the daemons: thin, each introduces the floors below to each other over verbs
    cli       fmctl, the fancymail command and the admin tools

Begin with docs/house.md, docs/ipc.md, core/journey.py and servers/queue/daemon.py.
"""

__version__ = "0.2.0"
