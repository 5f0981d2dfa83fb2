"""The words of the field: values and pure functions that every floor above speaks in. Standard library only, no I/O, no clock.

    address domain addresses orcpt      who: paths of SMTP, host names, address lists of header fields
    envelope results status             what SMTP knows of a message, what became of it, and how that is said
    headers fields words charset        header sections: found, written, decoded
    dates thread                        when, and what belongs together
    mime part parameters transfer       the structure of a message and the content of its parts
    dsn letter report                   delivery status notifications: written for people and programs, and read
    mailbox uidset lineends             names, flags and UIDs of stored mail; line ends
    scram saslprep                      credentials as words

Readers of mail are linear, iterative and capped: hostile octets cost what their length costs, and give a value or an error, nothing else.
"""
