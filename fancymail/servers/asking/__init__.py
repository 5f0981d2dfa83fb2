"""Asking other daemons by their verbs, where several daemons do it in the same words.

    store.py        changing mail, by fm-mailbox
    reader.py       reading mail, by fm-mailbox; nearest.py chooses between it and the shards of this machine
    notices.py      delivery status notifications, into fm-queue
"""
